/**
 * The seccomp filter of a jail, as classic BPF: `struct sock_filter` = [u16 code][u8 jt][u8 jf][u32 k], little endian, run by the kernel over
 * `struct seccomp_data` = [u32 nr][u32 arch][u64 instruction pointer][u64 args[6]].
 *
 * It is a deny list: what a program that computes and talks over sockets it was given never needs, and what kernel exploits start with.
 * The filter is loaded before the jailed program is executed, so `execve` stays allowed (there is nothing else to execute in the jail);
 * new processes are not, unless asked for: `clone` must make a thread, and `clone3`, whose flags a filter cannot see, "does not exist".
 */

interface Architecture {
  readonly audit: number
  readonly clone: number
  /** fork and vfork, where they exist */
  readonly forks: readonly number[]
  readonly denied: readonly number[]
}

const CLONE3 = 435
/** Newer calls have one number on every architecture: mount API, io_uring, pidfd */
const COMMON = [424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 438, 440, 442]

const X64: Architecture = {
  audit: 0xc000003e,
  clone: 56,
  forks: [57, 58],
  denied: [
    // network: socket connect accept bind listen accept4
    41, 42, 43, 49, 50, 288,
    // other processes: ptrace process_vm_readv process_vm_writev kcmp
    101, 310, 311, 312,
    // file systems: mount umount2 pivot_root chroot mknod mknodat open_by_handle_at name_to_handle_at fanotify_init quotactl swapon swapoff
    165,
    166, 155, 161, 133, 259, 304, 303, 300, 179, 167, 168,
    // namespaces: setns unshare
    308, 272,
    // kernel: bpf perf_event_open kexec_load kexec_file_load init_module finit_module delete_module userfaultfd syslog lookup_dcookie
    321,
    298, 246, 320, 175, 313, 176, 323, 103, 212,
    // keys: add_key request_key keyctl
    248, 249, 250,
    // the machine: reboot settimeofday clock_settime adjtimex clock_adjtime sethostname setdomainname acct ioperm iopl personality
    169,
    164, 227, 159, 305, 170, 171, 163, 173, 172, 135,
    // shared memory: shmget shmat msgget semget memfd_create vmsplice move_pages migrate_pages
    29, 30, 68, 64, 319, 278, 279, 256,
  ],
}

const ARM64: Architecture = {
  audit: 0xc00000b7,
  clone: 220,
  forks: [],
  denied: [
    // the same in the same order, without the calls that this architecture never had
    198, 203, 202, 200, 201, 242, 117, 270, 271, 272, 40, 39, 41, 51, 33, 265, 264, 262, 60, 224, 225, 268, 97, 280,
    241, 104, 294, 105, 273, 106, 282, 116, 18, 217, 218, 219, 142, 170, 112, 171, 266, 161, 162, 89, 92, 194, 196, 186,
    190, 279, 75, 239, 238,
  ],
}

const LOAD = 0x20
const JUMP_EQUAL = 0x15
const JUMP_SET = 0x45
const JUMP_AT_LEAST = 0x35
const RETURN = 0x06

const ALLOW = 0x7fff0000
const EPERM = 0x00050000 | 1
const ENOSYS = 0x00050000 | 38

const NR = 0
const ARCH = 4
/** Low half of the first argument */
const ARG0 = 16

const CLONE_THREAD = 0x10000
/** Calls of the x32 ABI carry this bit. */
const X32 = 0x40000000

/** The filter for `arch` (a `process.arch`), or undefined where there is none. With `processes` the program may start others (in the same jail). */
export function seccompFilter(arch: string, { processes } = { processes: false }): Buffer | undefined {
  const target = arch === 'x64' ? X64 : arch === 'arm64' ? ARM64 : undefined
  if (target === undefined) return undefined
  const refuse = [RETURN, 0, 0, EPERM] as const
  const program: (readonly [code: number, jt: number, jf: number, k: number])[] = [
    [LOAD, 0, 0, ARCH],
    [JUMP_EQUAL, 1, 0, target.audit],
    refuse,
    [LOAD, 0, 0, NR],
    [JUMP_AT_LEAST, 0, 1, X32],
    refuse,
    [JUMP_EQUAL, 0, 1, CLONE3],
    [RETURN, 0, 0, ENOSYS],
  ]
  if (!processes)
    program.push([JUMP_EQUAL, 0, 4, target.clone], [LOAD, 0, 0, ARG0], [JUMP_SET, 1, 0, CLONE_THREAD], refuse, [
      RETURN,
      0,
      0,
      ALLOW,
    ])
  for (const call of [...(processes ? [] : target.forks), ...target.denied, ...COMMON])
    program.push([JUMP_EQUAL, 0, 1, call], refuse)
  program.push([RETURN, 0, 0, ALLOW])
  const bytes = Buffer.alloc(8 * program.length)
  program.forEach(([code, jt, jf, k], index) => {
    bytes.writeUInt16LE(code, 8 * index)
    bytes.writeUInt8(jt, 8 * index + 2)
    bytes.writeUInt8(jf, 8 * index + 3)
    bytes.writeUInt32LE(k, 8 * index + 4)
  })
  return bytes
}
