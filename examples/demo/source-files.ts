/** Every source file of the installed packages. */
import { glob, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { SourceFile } from './index-file.ts'

/** Larger files are bundles rather than sources; the demo says how many it leaves out. */
const MAX_BYTES = 1 << 20

export async function sourceFiles(root: string): Promise<{ files: SourceFile[]; tooLarge: number }> {
  const paths: string[] = []
  for await (const path of glob('node_modules/**/*.{js,mjs,cjs,ts,mts,cts}', { cwd: root })) paths.push(path)
  paths.sort()
  const files: SourceFile[] = []
  let tooLarge = 0
  for (const path of paths) {
    const found = await stat(join(root, path))
    if (!found.isFile()) continue
    if (found.size > MAX_BYTES) tooLarge += 1
    else files.push({ path, text: await readFile(join(root, path), 'utf8') })
  }
  return { files, tooLarge }
}
