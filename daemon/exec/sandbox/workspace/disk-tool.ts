/** Runs the host's tools for file systems. None of them outlives its time. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { MeshError } from '../../../../protocol/errors.ts'

const run = promisify(execFile)

/** For whatever does not depend on how much a disk holds, milliseconds */
const TOOL_MS = 60_000

/** @param action what it is for, "copy a workspace" @throws MeshError E_ENGINE */
export async function diskTool(
  name: string,
  args: readonly string[],
  action: string,
  withinMs: number = TOOL_MS,
): Promise<void> {
  try {
    await run(name, [...args], { timeout: withinMs })
  } catch (error) {
    throw toolError(name, action, withinMs, error)
  }
}

function toolError(name: string, action: string, withinMs: number, cause: unknown): MeshError {
  if (cause instanceof Error && 'killed' in cause && cause.killed === true)
    return new MeshError('E_ENGINE', `Cannot ${action}: ${name} did not end within ${Math.round(withinMs / 1_000)} s`, {
      cause,
      hint: 'The disk of the host is very slow, or stuck',
    })
  return new MeshError('E_ENGINE', `Cannot ${action}: ${name} failed`, {
    cause,
    hint: 'See the log of the daemon; the disk may be full, or no loop device be left',
  })
}
