// What @chainsafe/snappy-stream takes of snappy 6, by snappyjs, which needs no compiler.
const { compress, uncompress } = require('snappyjs')
const answered = (make, callback) => {
  let made
  try { made = make() } catch (error) { return process.nextTick(callback, error) }
  process.nextTick(callback, null, made)
}
exports.compressSync = compress
exports.compress = (input, callback) => answered(() => compress(input), callback)
exports.uncompress = (input, options, callback) => answered(() => uncompress(input), callback)
