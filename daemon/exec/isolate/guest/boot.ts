/** Puts the guest runtime into a fresh context. The one place where the host function enters an isolate. */
import ivm from 'isolated-vm'
import { PRELUDE } from './gen/sources.js'
import { hostFunction, type GuestPort } from './host-ops.ts'
import type { Enter } from './realm.ts'

/**
 * Evaluates the prelude, before anything else runs in the context. The returned reference is the only way in; see `realm.ts` and `prelude.ts`
 * for the kinds of entries. Afterwards no program can reach the host function, nor any object of isolated-vm.
 * @param isolate that of the context
 */
export function bootGuest(context: ivm.Context, port: GuestPort, isolate: ivm.Isolate): ivm.Reference<Enter> {
  const host = new ivm.Callback(hostFunction(port), { sync: true })
  const prelude = compilePrelude(isolate).runSync(context, { reference: true }) as ivm.Reference<
    (host: unknown) => Enter
  >
  return prelude.applySync(undefined, [host], { result: { reference: true } })
}

/** Machine code of the prelude, kept since the first time: half the time of compiling. Made by this process for itself: such code is never taken from anywhere else. */
let compiled: ivm.ExternalCopy<ArrayBuffer> | undefined

function compilePrelude(isolate: ivm.Isolate): ivm.Script {
  const source = `(function ($0) {${PRELUDE}\n})`
  if (compiled !== undefined) return isolate.compileScriptSync(source, { cachedData: compiled })
  const script: ivm.Script & ivm.CachedDataResult = isolate.compileScriptSync(source, { produceCachedData: true })
  compiled = script.cachedData
  return script
}

/** JavaScript for a module of any type: JSON and text modules export their value as default. Lines of JavaScript stay where they are. */
export function moduleSource(module: { readonly type: 'js' | 'json' | 'text'; readonly source: string }): string {
  switch (module.type) {
    case 'js':
      return module.source
    case 'json':
      return `export default JSON.parse(${JSON.stringify(module.source)})`
    case 'text':
      return `export default ${JSON.stringify(module.source)}`
  }
}
