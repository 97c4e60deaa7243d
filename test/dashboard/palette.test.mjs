// Colours that tell kinds of things apart do so for eyes that see no red, green or blue, too.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { pageFolder } from './page.mjs'

const css = readFileSync(join(pageFolder, 'style.css'), 'utf8')
const schemes = { light: css.slice(0, css.indexOf('@media')), dark: css.slice(css.indexOf('@media')) }
const KINDS = ['c0', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'c-other']
const APART = 0.09      // in OKLab, in which black and white are 1 apart
const CONTRAST = 3      // WCAG 1.4.11

// What is left of linear RGB: Machado, Oliveira and Fernandes, 2009, at their full severity.
const EYES = {
  all: [1, 0, 0, 0, 1, 0, 0, 0, 1],
  'no red': [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998],
  'no green': [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881],
  'no blue': [1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.303900]
}
const times = (m, v) => [0, 1, 2].map(i => m[3 * i] * v[0] + m[3 * i + 1] * v[1] + m[3 * i + 2] * v[2])
const colour = (scheme, name) => new RegExp(`--${name}: (#\\w+);`).exec(schemes[scheme])[1].replace(/^#(.)(.)(.)$/, '#$1$1$2$2$3$3')
const linear = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16) / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
const oklab = rgb => times([0.2104542553, 0.7936177850, -0.0040720468, 1.9779984951, -2.4285922050, 0.4505937099, 0.0259040371, 0.7827717662, -0.8086757660],
  times([0.4122214708, 0.5363325363, 0.0514459929, 0.2119034982, 0.6806995451, 0.1073969566, 0.0883024619, 0.2817188376, 0.6299787005], rgb)
    .map(v => Math.cbrt(Math.max(0, v))))
const luminance = hex => 0.2126 * linear(hex)[0] + 0.7152 * linear(hex)[1] + 0.0722 * linear(hex)[2]

for (const scheme of ['light', 'dark']) {
  test(`colours of transports and agents, ${scheme}`, () => {
    for (const [eyes, m] of Object.entries(EYES)) {
      const seen = KINDS.map(name => oklab(times(m, linear(colour(scheme, name))).map(v => Math.min(1, Math.max(0, v)))))
      for (let i = 0; i < seen.length; i++) {
        for (let j = 0; j < i; j++) {
          const apart = Math.hypot(...seen[i].map((v, k) => v - seen[j][k]))
          assert.ok(apart >= APART, `${KINDS[i]} and ${KINDS[j]} are ${apart.toFixed(3)} apart for eyes with ${eyes}`)
        }
      }
    }
    for (const ground of ['surface', 'ground']) {
      for (const name of KINDS) {
        const [low, high] = [luminance(colour(scheme, name)), luminance(colour(scheme, ground))].sort((a, b) => a - b)
        assert.ok((high + 0.05) / (low + 0.05) >= CONTRAST, `${name} on ${ground}`)
      }
    }
  })
}
