import { expect, it } from 'vitest'
import { seccompFilter } from './seccomp.ts'

const ALLOW = 0x7fff0000
const ERRNO = 0x00050000

/** Runs the filter as the kernel does. */
function decide(filter: Buffer, call: { nr: number; arch: number; arg0?: number }): number {
  const data = Buffer.alloc(64)
  data.writeUInt32LE(call.nr, 0)
  data.writeUInt32LE(call.arch, 4)
  data.writeUInt32LE(call.arg0 ?? 0, 16)
  let accumulator = 0
  for (let at = 0; at < filter.length / 8; at++) {
    const code = filter.readUInt16LE(8 * at)
    const k = filter.readUInt32LE(8 * at + 4)
    const jump = (taken: boolean): number => filter.readUInt8(8 * at + (taken ? 2 : 3))
    if (code === 0x20) accumulator = data.readUInt32LE(k)
    else if (code === 0x15) at += jump(accumulator === k)
    else if (code === 0x35) at += jump(accumulator >= k)
    else if (code === 0x45) at += jump((accumulator & k) !== 0)
    else if (code === 0x06) return k
    else throw new Error(`instruction ${code}`)
  }
  throw new Error('fell off the end')
}

const X64 = 0xc000003e
const ARM64 = 0xc00000b7

it('refuses what guests must not do and lets the runtime work', () => {
  const filter = seccompFilter('x64') ?? Buffer.alloc(0)
  const on = (nr: number, arg0?: number) => decide(filter, { nr, arch: X64, ...(arg0 === undefined ? {} : { arg0 }) })
  // read write mmap futex execve exit_group epoll_wait
  for (const nr of [0, 1, 9, 202, 59, 231, 232]) expect(on(nr)).toBe(ALLOW)
  // socket connect fork ptrace mount bpf unshare io_uring_setup
  for (const nr of [41, 42, 57, 101, 165, 321, 272, 425]) expect(on(nr)).toBe(ERRNO | 1)
  expect(on(435)).toBe(ERRNO | 38)
  expect(on(56, 0x10000 | 0x100)).toBe(ALLOW)
  expect(on(56, 17)).toBe(ERRNO | 1)
  expect(on(0x4000_0000 + 1)).toBe(ERRNO | 1)
  expect(decide(filter, { nr: 1, arch: 0x40000003 })).toBe(ERRNO | 1)
})

it('lets a program start others only when told to, and never reach out', () => {
  const filter = seccompFilter('x64', { processes: true }) ?? Buffer.alloc(0)
  // clone fork vfork, then socket and ptrace
  for (const nr of [56, 57, 58]) expect(decide(filter, { nr, arch: X64, arg0: 17 })).toBe(ALLOW)
  for (const nr of [41, 42, 101]) expect(decide(filter, { nr, arch: X64 })).toBe(ERRNO | 1)
})

it('knows the other architecture, and says when it knows none', () => {
  const filter = seccompFilter('arm64') ?? Buffer.alloc(0)
  expect(decide(filter, { nr: 63, arch: ARM64 })).toBe(ALLOW)
  expect(decide(filter, { nr: 198, arch: ARM64 })).toBe(ERRNO | 1)
  expect(decide(filter, { nr: 220, arch: ARM64, arg0: 0x10000 })).toBe(ALLOW)
  expect(seccompFilter('mips')).toBeUndefined()
})
