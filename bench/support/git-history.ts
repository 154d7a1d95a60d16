/** Histories of text files made by `git fast-import`, without a work tree. */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'

/** Fills `refs/heads/main` of a bare repository: all files in the first commit, every 50th again in each of the others. About 2 KB a file. */
export async function fillRepository(path: string, files: number, commits: number): Promise<void> {
  const parts: string[] = []
  for (let commit = 1; commit <= commits; commit++) {
    parts.push(header(commit))
    const step = commit === 1 ? 1 : 50
    for (let file = 0; file < files; file += step) parts.push(entry(file, body(file, commit)))
  }
  await importAll(path, parts.join(''))
}

/** One more commit that changes one file. */
export async function addCommit(path: string, number: number): Promise<void> {
  await importAll(path, `${header(number)}from refs/heads/main^0\n${entry(0, body(0, number))}`)
}

async function importAll(path: string, stream: string): Promise<void> {
  const child = spawn('git', ['-C', path, 'fast-import', '--quiet', '--force'], {
    stdio: ['pipe', 'inherit', 'inherit'],
  })
  child.stdin.end(stream)
  const [code] = (await once(child, 'exit')) as unknown[]
  if (code !== 0) throw new Error(`git fast-import ended with ${String(code)}`)
}

function header(number: number): string {
  return `commit refs/heads/main\ncommitter a <a@example.org> ${1_700_000_000 + number} +0000\ndata 2\nc\n`
}

function entry(file: number, content: string): string {
  return `M 100644 inline src/d${file % 97}/f${file}.js\ndata ${content.length}\n${content}\n`
}

function body(file: number, commit: number): string {
  const line = `export const v${file} = ${file * commit};\n`
  return `// ${randomBytes(200).toString('hex')}\n// file ${file}, revision ${commit}\n${line.repeat(Math.floor(1500 / line.length))}`
}
