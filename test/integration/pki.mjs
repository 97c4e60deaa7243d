// Certificates for a test, and what a TLS client says first.
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'

// One CA, two certificates of localhost, and others that are wrong in some way; issue makes
// one for other names. path: their folder, which the caller removes.
export function makePki () {
  const path = mkdtempSync(join(tmpdir(), 'introspectd-'))
  const pki = { path, file: name => join(path, name), read: name => readFileSync(join(path, name)) }
  const openssl = (...args) => execFileSync('openssl', args, { cwd: path, stdio: 'pipe' })
  const key = name => openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256',
    '-out', `${name}.key`)
  const issued = (name, subject, days, names = 'DNS:localhost,IP:127.0.0.1') => {
    writeFileSync(pki.file('names'), `subjectAltName=${names}\n`)
    key(name)
    openssl('req', '-new', '-key', `${name}.key`, '-subj', `/CN=${subject}`, '-out', `${name}.csr`)
    openssl('x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial',
      '-extfile', 'names', '-days', days, '-out', `${name}.pem`)
  }
  for (const name of ['ca', 'stranger']) {
    key(name)
    openssl('req', '-x509', '-new', '-key', `${name}.key`, '-subj', `/CN=${name}`, '-days', '30',
      '-out', `${name}.pem`)
  }
  issued('server', 'first', '30')
  issued('renewed', 'second', '30')
  // Only openssl ca takes dates, or days in the past, in every version.
  issued('expired', 'expired', '30')
  writeFileSync(pki.file('index'), '')
  writeFileSync(pki.file('ca.conf'), '[ca]\ndefault_ca=own\n[own]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\n' +
    'default_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n')
  openssl('ca', '-batch', '-notext', '-config', 'ca.conf', '-in', 'expired.csr', '-cert', 'ca.pem', '-keyfile', 'ca.key',
    '-extfile', 'names', '-startdate', '20200101000000Z', '-enddate', '20200102000000Z', '-out', 'expired.pem')
  issued('client', 'somebody', '30')
  pki.issue = (name, names) => issued(name, name, '30', names)
  pki.ca = pki.read('ca.pem')
  return pki
}

export async function clientHello () {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'connection')
  const socket = tls.connect({ port: server.address().port, host: '127.0.0.1' }).on('error', () => {})
  const [peer] = await accepted
  const [bytes] = await once(peer, 'data')
  socket.destroy()
  peer.destroy()
  server.close()
  return bytes
}
