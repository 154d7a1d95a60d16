/** The process that holds the isolates: a fresh one for each run, made ahead; a kept one for calls. No jail, no limits, no web globals. */
import { Socket } from 'node:net'
import ivm from 'isolated-vm'
import { talk } from './lines.ts'

const READY = 4

interface Ready {
  readonly isolate: ivm.Isolate
  readonly context: ivm.Context
}

type Call = ivm.Reference<(text: string) => Promise<string>>

const make = (): Ready => {
  const isolate = new ivm.Isolate({ memoryLimit: 128 })
  return { isolate, context: isolate.createContextSync() }
}
const ready = Array.from({ length: READY }, make)
let kept: Call | undefined

function load({ isolate, context }: Ready, source: string): Call {
  const module = isolate.compileModuleSync(source, { filename: 'main.js' })
  module.instantiateSync(context, () => {
    throw new Error('no imports')
  })
  module.evaluateSync({ timeout: 1000 })
  const call = `return async (text) => JSON.stringify(await $0.default(JSON.parse(text)))`
  return context.evalClosureSync(call, [module.namespace.derefInto()], { result: { reference: true } })
}

async function once(source: string, text: string): Promise<string> {
  const one = ready.pop() ?? make()
  const output = await load(one, source).apply(undefined, [text], { result: { promise: true, copy: true } })
  setImmediate(() => {
    one.isolate.dispose()
    ready.push(make())
  })
  return output
}

const say = talk(new Socket({ fd: 3, readable: true, writable: true }), async ({ id, op, source, text }) => {
  if (op === 'load') kept = load(make(), source)
  const output =
    op === 'run'
      ? await once(source, text)
      : op === 'call'
        ? await kept?.apply(undefined, [text], { result: { promise: true, copy: true } })
        : ''
  say({ id, op: 'done', text: output })
})
