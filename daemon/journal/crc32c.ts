/**
 * CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), the checksum of LevelDB's files; Node's zlib has only the IEEE one.
 * Eight bytes a step with eight tables: M. Kounavis, F. Berry, "A Systematic Approach to Building High Performance Software-based CRC
 * Generators" (2005), slicing-by-8.
 */
const POLYNOMIAL = 0x82f63b78
let tables: Int32Array | undefined

/** Eight tables of 256 in one array; made on first use, since a journal without tables never needs them. */
function makeTables(): Int32Array {
  const made = new Int32Array(8 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
    made[byte] = crc
  }
  for (let at = 256; at < made.length; at++) {
    const before = made[at - 256] ?? 0
    made[at] = (before >>> 8) ^ (made[before & 0xff] ?? 0)
  }
  return made
}

/** CRC-32C of `bytes` from `start` to `end`, unsigned. */
export function crc32c(bytes: Buffer, start = 0, end = bytes.length): number {
  tables ??= makeTables()
  const t = tables
  let crc = -1
  let at = start
  for (const last = end - 8; at <= last; at += 8) {
    const low = crc ^ bytes.readInt32LE(at)
    const high = bytes.readInt32LE(at + 4)
    crc =
      // biome-ignore format: one line per table
      (t[1792 | (low & 0xff)] as number) ^
      (t[1536 | ((low >>> 8) & 0xff)] as number) ^
      (t[1280 | ((low >>> 16) & 0xff)] as number) ^
      (t[1024 | (low >>> 24)] as number) ^
      (t[768 | (high & 0xff)] as number) ^
      (t[512 | ((high >>> 8) & 0xff)] as number) ^
      (t[256 | ((high >>> 16) & 0xff)] as number) ^
      (t[high >>> 24] as number)
  }
  for (; at < end; at++) crc = (crc >>> 8) ^ (t[(crc ^ (bytes[at] as number)) & 0xff] as number)
  return ~crc >>> 0
}
