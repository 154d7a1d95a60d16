/** Credentials that guests use and never see. A value is never taken from the command line, which others can read and shells remember. */
import { ManyhandsError } from '../../../sdk/src/index.ts'
import type { Context } from '../context.ts'
import { Interrupted } from '../failure.ts'
import { readText, standardInput } from '../inputs.ts'
import type { Tty } from '../io.ts'
import { pairs } from '../table.ts'
import { safeLine } from '../terminal.ts'

export async function set(context: Context, name: string): Promise<undefined> {
  const { mesh, output } = context
  // One line break at the end belongs to the file or the key, not to the secret
  const value = (output.io.tty ? await ask(context, output.io.tty, name) : await readText('-', context)).replace(
    /\r?\n$/,
    '',
  )
  if (value === '')
    throw new ManyhandsError('E_BAD_REQUEST', 'Cannot keep the secret: it is empty', {
      hint: `Pass it on standard input: manyhands secret set ${name} < file`,
    })
  const kept = await (await mesh()).secrets.set(name, value)
  await output.answer(kept, () => `kept ${safeLine(name)}`)
}

/** Without showing what is typed. */
async function ask(context: Context, tty: Tty, name: string): Promise<string> {
  const { io } = context.output
  io.writeErr(`value of ${safeLine(name)}: `)
  tty.raw(true)
  let typed = ''
  // What is pasted comes in pieces, which may part a character
  const decoder = new TextDecoder()
  try {
    for await (const chunk of standardInput(context)) {
      for (const char of decoder.decode(chunk, { stream: true })) {
        if (char === '\r' || char === '\n' || char === '\u0004') return typed
        if (char === '\u0003') throw new Interrupted('interrupted')
        typed = char === '\u007f' || char === '\b' ? [...typed].slice(0, -1).join('') : typed + char
      }
    }
    return typed
  } finally {
    tty.raw(false)
    io.writeErr('\n')
    io.stdin.destroy()
  }
}

export async function list({ mesh, output }: Context): Promise<undefined> {
  const secrets = await (await mesh()).secrets.list()
  await output.answer({ secrets }, () =>
    secrets.length === 0
      ? 'No secrets.'
      : pairs([['NAME', 'SET'], ...secrets.map((one) => [safeLine(one.name), one.setAt] as const)]),
  )
}

export async function remove({ mesh, output }: Context, name: string): Promise<undefined> {
  await (await mesh()).secrets.remove(name)
  await output.answer({ removed: name }, () => `removed ${safeLine(name)}`)
}
