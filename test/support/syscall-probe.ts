/**
 * A program that makes one system call with arguments of zero and exits with its error number (0 when it went through): the smallest ELF file there
 * is for x86-64, so that tests can knock at calls for which no tool is in the image. Format: System V ABI, AMD64 supplement; ELF-64 object file format.
 */
const BASE = 0x400000
const HEADERS = 64 + 56

/** @param number of the call on x86-64 */
export function syscallProbe(number: number): Buffer {
  const code = Buffer.from([
    ...[0xb8, number & 0xff, (number >> 8) & 0xff, 0, 0], // mov eax, number
    ...[0x31, 0xff, 0x31, 0xf6, 0x31, 0xd2], // xor edi, edi; xor esi, esi; xor edx, edx
    ...[0x4d, 0x31, 0xd2, 0x4d, 0x31, 0xc0, 0x4d, 0x31, 0xc9], // xor r10, r10; r8; r9
    ...[0x0f, 0x05], // syscall
    ...[0x48, 0x85, 0xc0], // test rax, rax
    ...[0x79, 0x04], // jns: a result that is no error
    ...[0xf7, 0xd8], // neg eax
    ...[0xeb, 0x02], // jmp
    ...[0x31, 0xc0], // xor eax, eax
    ...[0x89, 0xc7], // mov edi, eax
    ...[0xb8, 60, 0, 0, 0], // mov eax, exit
    ...[0x0f, 0x05], // syscall
  ])
  const file = Buffer.alloc(HEADERS + code.length)
  file.write('\x7fELF\x02\x01\x01', 0, 'latin1')
  file.writeUInt16LE(2, 16) // an executable
  file.writeUInt16LE(62, 18) // x86-64
  file.writeUInt32LE(1, 20)
  file.writeBigUInt64LE(BigInt(BASE + HEADERS), 24) // entry
  file.writeBigUInt64LE(64n, 32) // program headers follow
  file.writeUInt16LE(64, 52)
  file.writeUInt16LE(56, 54)
  file.writeUInt16LE(1, 56)
  file.writeUInt32LE(1, 64) // loaded
  file.writeUInt32LE(5, 68) // readable, executable
  file.writeBigUInt64LE(BigInt(BASE), 80)
  file.writeBigUInt64LE(BigInt(BASE), 88)
  file.writeBigUInt64LE(BigInt(file.length), 96)
  file.writeBigUInt64LE(BigInt(file.length), 104)
  file.writeBigUInt64LE(0x1000n, 112)
  code.copy(file, HEADERS)
  return file
}
