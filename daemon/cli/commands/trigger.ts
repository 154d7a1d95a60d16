/** Programs that pushes and proposals start. */
import type { Context } from '../context.ts'
import { readProgram } from '../task-options.ts'
import { safeLine } from '../terminal.ts'
import { parseCount } from '../units.ts'
import { chosen } from '../words.ts'

export interface TriggerFlags {
  readonly name?: string
  readonly on?: string
  readonly branch?: string
  readonly perMinute?: string
  readonly path?: string[]
}

export async function add(context: Context, artifact: string, file: string, flags: TriggerFlags): Promise<undefined> {
  const { mesh, output } = context
  const on = chosen('on', flags.on, ['push', 'proposal', 'merge']) ?? 'push'
  const { source, filename, modules, main } = await readProgram(file, context)
  const made = await (await (await mesh()).artifact(artifact)).triggers.add({
    name: flags.name ?? `on-${on}`,
    on,
    program: {
      ...(source === undefined ? {} : { source }),
      ...(filename === undefined ? {} : { filename }),
      ...(modules === undefined ? {} : { modules }),
      ...(main === undefined ? {} : { main }),
    },
    ...(flags.branch === undefined ? {} : { branch: flags.branch }),
    ...(flags.perMinute === undefined ? {} : { perMinute: parseCount(flags.perMinute) }),
    ...(flags.path === undefined ? {} : { paths: flags.path }),
  })
  await output.answer(made, () => safeLine(made.name))
}

export async function list({ mesh, output }: Context, name: string): Promise<undefined> {
  const triggers = await (await (await mesh()).artifact(name)).triggers.list()
  await output.answer({ triggers }, () =>
    triggers.length === 0
      ? 'No triggers.'
      : triggers
          .map(
            (one) =>
              `${safeLine(one.name)}  on ${one.on} ${one.on === 'push' ? 'to' : 'into'} ${safeLine(one.branch)}  started ${one.started}, dropped ${one.dropped}`,
          )
          .join('\n'),
  )
}

export async function remove({ mesh, output }: Context, name: string, trigger: string): Promise<undefined> {
  const triggers = await (await (await mesh()).artifact(name)).triggers.remove(trigger)
  await output.answer({ triggers }, () => `removed ${safeLine(trigger)}`)
}
