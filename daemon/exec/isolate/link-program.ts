import type { Module } from 'isolated-vm'
import type { JobFailure } from '../../../protocol/job.ts'
import { resolveSpecifier } from '../../programs/resolve.ts'
import type { Program } from '../executor.ts'
import { moduleSource } from './guest/boot.ts'
import { failureFromThrown, unresolvedImport } from './guest/errors.ts'
import type { GuestIsolate } from './guest-isolate.ts'

/** Larger sources are parsed on another thread, which costs a switch but keeps this one free. */
const SYNC_COMPILE_CHARS = 64 << 10

/** Where a program is linked: an isolate with the modules around it. */
export type Linkable = Pick<GuestIsolate, 'isolate' | 'start'>

export type Failed = { readonly failure: JobFailure }

/**
 * Compiles all modules of a program and links them below the root module; a specifier finds only modules of the program.
 * @throws Error when the isolate was ended meanwhile
 */
export async function linkProgram(guest: Linkable, program: Program): Promise<Failed | undefined> {
  const modules = new Map<string, Module>()
  const names = new Map<Module, string>()
  for (const module of program.modules) {
    try {
      const compiled = await compile(guest, module.name, moduleSource(module))
      modules.set(module.name, compiled)
      names.set(compiled, module.name)
    } catch (error) {
      if (guest.isolate.isDisposed) throw error
      return { failure: failureFromThrown(error, program, 'compile') }
    }
  }
  const main = modules.get(program.main)
  if (main === undefined) {
    return { failure: { code: 'E_IMPORT', message: `The main module is not part of the program: ${program.main}` } }
  }
  let missing: JobFailure | undefined
  try {
    guest.start.link(main, (specifier, referrer) => {
      const from = names.get(referrer) ?? program.main
      const found = modules.get(resolveSpecifier(specifier, from) ?? '')
      if (found !== undefined) return found
      missing ??= unresolvedImport(specifier, from, program)
      throw new Error('unresolved')
    })
  } catch (error) {
    if (guest.isolate.isDisposed) throw error
    return { failure: missing ?? failureFromThrown(error, program, 'link') }
  }
  return undefined
}

function compile(guest: Linkable, filename: string, source: string): Module | Promise<Module> {
  const { isolate } = guest
  return source.length <= SYNC_COMPILE_CHARS
    ? isolate.compileModuleSync(source, { filename })
    : isolate.compileModule(source, { filename })
}
