import type ivm from 'isolated-vm'
import type { bootGuest } from './guest/boot.ts'

/**
 * Two modules of ours around a program's. The root imports the program and, when all of it has been evaluated, top-level awaits included, hands
 * it to the kernel, which calls what the host has armed. So loading a program and calling it once are one entry into the isolate, where each
 * entry costs two changes of threads. A program cannot import either: specifiers of its modules only find its modules.
 */
const KERNEL = `let enter, armed
export const install = (own) => { enter = own }
export const arm = (...args) => { armed = args }
export const start = (main) => { if (armed !== undefined) enter(armed[0], 'main', { main, loaded: true }, armed[1], armed[2]) }`
const ROOT = `import * as main from 'main'
import { start } from 'kernel'
export { main }
export const loaded = true
start(main)`

const KERNEL_SPECIFIER = 'kernel'

/** What `evaluate` of `root` will call once the program is loaded; without it, nothing. */
export type Arm = (now: number, id: number, input: string) => void

export interface StartModules {
  readonly root: ivm.Module
  /** Links the root: `resolve` finds everything but what the root itself imports */
  link(main: ivm.Module, resolve: (specifier: string, referrer: ivm.Module) => ivm.Module): void
  arm: Arm
}

export function startModules(
  isolate: ivm.Isolate,
  context: ivm.Context,
  enter: ReturnType<typeof bootGuest>,
): StartModules {
  const kernel = isolate.compileModuleSync(KERNEL, { filename: 'manyhands:kernel' })
  kernel.instantiateSync(context, () => {
    throw new Error('the kernel imports nothing')
  })
  kernel.evaluateSync()
  kernel.namespace.getSync('install', { reference: true }).applySync(undefined, [enter.derefInto()])
  const arm = kernel.namespace.getSync('arm', { reference: true })
  const root = isolate.compileModuleSync(ROOT, { filename: 'manyhands:root' })
  return {
    root,
    link(main, resolve) {
      root.instantiateSync(context, (specifier, referrer) => {
        if (referrer !== root) return resolve(specifier, referrer)
        return specifier === KERNEL_SPECIFIER ? kernel : main
      })
    },
    arm: (now, id, input) => {
      arm.applySync(undefined, [now, id, input])
    },
  }
}
