/** Runs a program over the lines of a file, on the whole mesh, and prints the results in the order of the lines. */
import { ManyhandsError, type MapItem, type MapRun } from '../../../sdk/src/index.ts'
import type { Context } from '../context.ts'
import { readJsonLines } from '../inputs.ts'
import type { Output } from '../io.ts'
import { nodeNames } from '../node-names.ts'
import { OutFile } from '../out-file.ts'
import { ProgressLine, progressText } from '../progress.ts'
import { commonOptions, readProgram, type TaskFlags } from '../task-options.ts'
import { safeJson, safeLine } from '../terminal.ts'
import { parseCount } from '../units.ts'

export interface MapFlags extends TaskFlags {
  readonly inputs: string
  readonly progress?: boolean
  readonly fresh?: boolean
  readonly pieceSize?: string
  readonly out?: string
}

/** Failed inputs that are told one by one; all are in the results with --json */
const TOLD_FAILURES = 10

type WriteLine = (text: string) => Promise<void>

export async function map(context: Context, file: string, flags: MapFlags): Promise<number> {
  const { output, signal } = context
  if (file === '-' && flags.inputs === '-') {
    throw new ManyhandsError('E_BAD_REQUEST', 'Cannot read both the program and its inputs from standard input')
  }
  const common = commonOptions(flags)
  const pieceSize = flags.pieceSize === undefined ? undefined : parseCount(flags.pieceSize)
  const program = await readProgram(file, context)
  const mesh = await context.mesh()
  const line = new ProgressLine(output.io)
  const names = flags.progress || flags.out !== undefined ? await nodeNames(mesh) : new Map<string, string>()
  // Before the work begins: a place that cannot be written must not leave it running
  const out = flags.out === undefined ? undefined : await OutFile.open(flags.out)
  const run = mesh.map(program, readJsonLines(flags.inputs, context), {
    ...common,
    fresh: flags.fresh,
    pieceSize,
    signal,
    ...(flags.progress ? { onProgress: (progress) => line.show(progressText(progress, names)) } : {}),
  })
  const failed = await writeResults(run, out, output, line)
  line.clear()
  await tellSummary(run, failed, flags, names, output)
  return failed > 0 ? 1 : 0
}

async function writeResults(
  run: MapRun,
  file: OutFile | undefined,
  output: Output,
  line: ProgressLine,
): Promise<number> {
  const write: WriteLine = (text) => (file ? file.write(`${text}\n`) : output.io.writeOut(`${text}\n`))
  try {
    const failed = await eachResult(run, write, file === undefined, output, line)
    await file?.close()
    return failed
  } catch (error) {
    line.clear()
    // Whatever ended the reading: the nodes need not go on
    run.cancel()
    await run.tasks().catch(() => undefined)
    await file?.close().catch(() => undefined)
    throw error
  }
}

async function eachResult(
  run: MapRun,
  write: WriteLine,
  toStdout: boolean,
  output: Output,
  line: ProgressLine,
): Promise<number> {
  let failed = 0
  let index = 0
  for await (const item of run) {
    if (!item.ok && failed++ < TOLD_FAILURES) {
      line.clear()
      output.note(`input ${index}: ${safeLine(item.error.message)} [${safeLine(item.error.code)}]`)
    }
    await write(itemLine(item, index, output, toStdout))
    index++
  }
  if (failed > TOLD_FAILURES) output.note(`... and ${failed - TOLD_FAILURES} more inputs failed`)
  return failed
}

/** One line of JSON: the output alone (null for a failure), or with --json the index and outcome too. */
function itemLine(item: MapItem<unknown>, index: number, output: Output, toStdout: boolean): string {
  const value = output.json ? { index, ...item } : item.ok ? item.output : null
  return toStdout && output.io.columns !== undefined ? safeJson(value) : JSON.stringify(value)
}

/** With --out the summary is the answer; else it goes beside the results. */
async function tellSummary(
  run: MapRun,
  failed: number,
  flags: MapFlags,
  names: ReadonlyMap<string, string>,
  output: Output,
): Promise<void> {
  const tasks = await run.tasks()
  const progress = run.progress.value
  if (flags.out !== undefined) {
    await output.answer({ tasks: tasks.map((task) => task.id), ...progress, failed, out: flags.out }, () =>
      progressText(progress, names),
    )
  } else if (flags.progress) output.note(progressText(progress, names))
}
