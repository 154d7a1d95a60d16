/** Runs a program once and prints its output. */
import { type LogEvent, ManyhandsError, outputOf, type RunOptions, type TaskArtifacts } from '../../../sdk/src/index.ts'
import type { Context } from '../context.ts'
import { parseJson, readJson } from '../inputs.ts'
import type { Output } from '../io.ts'
import { commonOptions, readProgram, type TaskFlags } from '../task-options.ts'
import { safeLine, safeText } from '../terminal.ts'
import { explanationText } from '../views.ts'

export interface RunFlags extends TaskFlags {
  readonly input?: string
  readonly inputJson?: string
  readonly explain?: boolean
  readonly detach?: boolean
  readonly quiet?: boolean
  readonly take?: string
  readonly takePath?: string[]
  readonly give?: string
}

export async function run(context: Context, file: string, flags: RunFlags): Promise<number | undefined> {
  const { output, signal } = context
  if (flags.detach && flags.explain)
    throw new ManyhandsError('E_BAD_REQUEST', 'Cannot use --explain with --detach, which does not wait for a node', {
      hint: 'Once it runs: manyhands task explain <task>',
    })
  const options: RunOptions = {
    ...commonOptions(flags),
    input: await readInput(file, flags, context),
    artifacts: artifactsOf(flags),
    signal,
  }
  const program = await readProgram(file, context)
  const mesh = await context.mesh()
  if (flags.detach) {
    const task = await mesh.tasks.start(program, options)
    await output.answer(task, () => safeLine(task.id))
    return 0
  }
  const onLog = flags.quiet ? undefined : (line: LogEvent) => tellLog(line, output)
  const task = await mesh.tasks.run(program, { ...options, onLog })
  const explanation = flags.explain ? await mesh.tasks.explain(task.id) : undefined
  if (explanation && !output.json) output.note(explanationText(explanation, output.io.columns))
  // Thrown, so that a failure is told like any other
  const value = outputOf(task)
  if (task.commits?.output !== undefined && !output.json)
    output.note(`committed ${safeLine(task.commits.output.commit)}`)
  if (task.commits?.refused !== undefined && !output.json)
    output.note(`not committed: ${safeLine(task.commits.refused)}`)
  if (output.json) await output.jsonLine(explanation ? { ...task, explanation } : task)
  else await output.value(value)
  return 0
}

function tellLog(line: LogEvent, output: Output): void {
  const level = line.level === 'log' || line.level === 'info' ? '' : `${safeLine(line.level)}: `
  output.note(`${level}${safeText(line.text)}`)
}

/** "notes@main": the artifact, and what of it. */
function artifactsOf({ take, takePath, give }: RunFlags): TaskArtifacts | undefined {
  if (take === undefined && takePath !== undefined)
    throw new ManyhandsError('E_BAD_REQUEST', 'Cannot use --take-path without --take, which names the artifact')
  if (take === undefined && give === undefined) return undefined
  const [artifact, rev] = atMark(take ?? '')
  const [target, branch] = atMark(give ?? '')
  const paths = takePath === undefined ? {} : { paths: takePath }
  return {
    ...(take === undefined ? {} : { input: { artifact, ...(rev === undefined ? {} : { rev }), ...paths } }),
    ...(give === undefined ? {} : { output: { artifact: target, ...(branch === undefined ? {} : { branch }) } }),
  }
}

/** At the first "@": a branch may have more of them, and a part of its name would be another branch. */
function atMark(text: string): [artifact: string, what: string | undefined] {
  const at = text.indexOf('@')
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)]
}

async function readInput(file: string, flags: RunFlags, context: Context): Promise<unknown> {
  if (flags.inputJson !== undefined && flags.input !== undefined) {
    throw new ManyhandsError('E_BAD_REQUEST', 'Cannot take --input and --input-json at once')
  }
  if (flags.inputJson !== undefined) return parseJson(flags.inputJson, '--input-json')
  if (flags.input === undefined) return undefined
  if (flags.input === '-' && file === '-') {
    throw new ManyhandsError('E_BAD_REQUEST', 'Cannot read both the program and its input from standard input')
  }
  return readJson(flags.input, context)
}
