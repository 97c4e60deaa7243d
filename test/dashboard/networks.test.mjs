// Addresses are looked up in the operator's table as the longest network that holds them.
import assert from 'node:assert/strict'
import { BlockList, isIPv6 } from 'node:net'
import { test } from 'node:test'
import { load } from './page.mjs'

const { networkAt, readNetworks } = await load('networks.js')

test('the longest network counts, in both families, whatever else stands in the line', () => {
  readNetworks(`# AS and country
10.0.0.0/8 AS1 US ten
10.1.0.0/16\t2   -
10.1.2.3/32 - DE one host
2001:db8::/32 AS3 FR v6 net
2001:db8:0:1::/64 AS4
::ffff:0:0/96 AS5
0.0.0.0/0 - - the rest\r
`)
  const told = {
    '10.9.9.9:4001': 'AS1 ten US', '10.1.9.9': 'AS2', '10.1.2.3:1': 'one host DE', '11.0.0.1:80': 'the rest',
    '[2001:db8:5::1]:4001': 'AS3 v6 net FR', '[2001:db8:0:1::9]': 'AS4', '[2001:0DB8:0:1:0:0:0:9]:1': 'AS4', '[::ffff:1.2.3.4]:1': 'AS5',
    '[fe80::1%eth0]:1': '', '[::1]:4001': '', 'example.org:4001': '', '': '', '/unix/x': '', '[::': ''
  }
  for (const [place, text] of Object.entries(told)) assert.equal(networkAt(place).text, text, place)
  assert.deepEqual({ ...networkAt('10.9.9.9:1') }, { as: 'AS1', country: 'US', name: 'ten', text: 'AS1 ten US' })
  readNetworks('')
  assert.equal(networkAt('10.9.9.9:4001').text, '')
})

// A table that another daemon hands on, or one that only carriage returns divide.
test('a line that is none is passed over', () => {
  for (const bits of ['', '/', '/x', '/8x', '/1.5', '/-1', '/33', '/1e9', '/1000000000', '/8\rAS7', '/0x8', '/ 8']) {
    readNetworks(`10.0.0.0${bits} AS9\n10.0.0.0/16 AS1\n999.0.0.0/8\n`)
    assert.equal(networkAt('10.0.0.1:1').text, 'AS1', bits)
  }
  readNetworks('10.0.0.0/8\rAS7\rDE\n')
  assert.equal(networkAt('10.0.0.1:1').text, 'AS7 DE')
})

test('random tables and addresses, beside node\'s own', () => {
  let seed = 7
  const random = n => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % n
  const v4 = () => Array.from({ length: 4 }, () => random(4)).join('.')
  const v6 = () => Array.from({ length: 8 }, () => random(3) ? '0' : random(65536).toString(16)).join(':')
  const lines = Array.from({ length: 400 }, (_, i) => i % 2 ? { net: v4(), bits: random(33), i } : { net: v6(), bits: random(129), i })
  readNetworks(lines.map(({ net, bits, i }) => `${net}/${bits} AS${i}`).join('\n'))
  const lists = lines.map(line => {
    const list = new BlockList()
    list.addSubnet(line.net, line.bits, isIPv6(line.net) ? 'ipv6' : 'ipv4')
    return { ...line, list }
  })
  for (let n = 0; n < 2000; n++) {
    const address = n % 2 ? v4() : v6(), family = n % 2 ? 'ipv4' : 'ipv6'
    const fit = lists.filter(l => isIPv6(l.net) === (family === 'ipv6') && l.list.check(address, family))
    const bits = Math.max(...fit.map(l => l.bits))
    const wanted = fit.filter(l => l.bits === bits).map(l => `AS${l.i}`)
    const { as } = networkAt(n % 2 ? `${address}:4001` : `[${address}]:4001`)
    assert.ok(wanted.length ? wanted.includes(as) : as === '', `${address}: ${as}, not ${wanted}`)
  }
})
