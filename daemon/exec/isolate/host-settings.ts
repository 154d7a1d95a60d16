import type { JailLimits } from './jail.ts'

/** Flags of the runtime inside an isolate host. */
export const HOST_FLAGS: readonly string[] = [
  // isolated-vm demands it
  '--no-node-snapshot',
  // a debugger must not be one signal away
  '--disable-sigusr1',
  // guests have no WebAssembly; the runtime strips types with a little of it: 64 MiB
  '--wasm-max-mem-pages=1024',
  '--no-warnings',
  // in-process checks on files, child processes and workers, behind the jail's own
  '--permission',
  '--allow-addons',
]

export const HOST_LIMITS: JailLimits = {
  /**
   * A coarse bound: the runtime needs 2 GiB to start, and each isolate reserves half a GiB for code that it hardly touches.
   * Resident memory is what counts, and the daemon watches that.
   */
  addressSpaceBytes: 24 * 2 ** 30,
  openFiles: 256,
}
