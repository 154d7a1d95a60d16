/** What a gate of `npm run check` is, and how one runs a tool. */
import { spawn } from 'node:child_process'

export interface Gate {
  readonly name: string
  /** One line: what it keeps out */
  readonly keepsOut: string
  /** Looks at the project in `root`. One finding per string; none means passed. */
  run(root: string): Promise<readonly string[]>
}

export interface ToolResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** A tool may take this long before it counts as hung, milliseconds. */
const TOOL_TIMEOUT_MS = 5 * 60_000

/** Runs a tool's own script on this Node, in `root`, with `env` added to the environment. Rejects only when it cannot be started or hangs; a failing exit code is a result. */
export function runTool(
  root: string,
  script: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, ...args], {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: TOOL_TIMEOUT_MS,
    })
    const out: Buffer[] = []
    const err: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk))
    child.on('error', reject)
    child.on('close', (code, signal) => {
      if (code === null) reject(new Error(`${script} was ended by ${signal ?? 'a signal'}`))
      else resolve({ code, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() })
    })
  })
}

/** A gate that is just a tool with an honest exit code. */
export function toolGate(name: string, keepsOut: string, script: string, args: readonly string[]): Gate {
  return {
    name,
    keepsOut,
    async run(root) {
      const { code, stdout, stderr } = await runTool(root, script, args)
      return code === 0 ? [] : [`${stdout}${stderr}`.trim() || `${script} ended with ${code} and said nothing`]
    },
  }
}
