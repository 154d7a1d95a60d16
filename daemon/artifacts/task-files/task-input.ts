/** The files of a commit as a task's input. */
import type { TaskArtifacts } from '../../../protocol/api.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { LIMITS } from '../../../protocol/limits.ts'
import type { ArtifactServices } from '../../api/artifact-services.ts'

/** Text as it is; anything else in base64. */
export type FileContent = string | { readonly base64: string }

/** What the program gets as its first argument. */
export interface FilesInput {
  /** What the caller gave as input */
  readonly input: unknown
  readonly artifact: { readonly id: string; readonly name?: string; readonly commit: string }
  readonly files: Readonly<Record<string, FileContent>>
}

type Source = NonNullable<TaskArtifacts['input']>

/** @param pinned commit that an earlier try of the same request read. @throws MeshError E_NOT_FOUND, E_TOO_LARGE */
export async function readTaskInput(
  services: Pick<ArtifactServices, 'file' | 'get' | 'tree'>,
  source: Source,
  input: unknown,
  pinned: string | undefined,
): Promise<FilesInput> {
  const { id, name } = await services.get(source.artifact)
  const wanted = pinned ?? source.rev
  const rev = wanted === undefined ? {} : { rev: wanted }
  const root = await services.tree(id, { ...rev, limit: 1 })
  const paths = await pathsOf(services, id, root.commit, source.paths)
  const files: Record<string, FileContent> = Object.create(null) as Record<string, FileContent>
  let left: number = LIMITS.inputBytes
  for (const path of paths) {
    const file = await services.file(id, { rev: root.commit, path })
    left -= file.size
    if (left < 0) throw tooLarge(`its files have more than ${LIMITS.inputBytes} bytes`)
    files[path] = file.text ?? { base64: file.base64 ?? '' }
  }
  return { input: input ?? null, artifact: { id, commit: root.commit, ...(name === undefined ? {} : { name }) }, files }
}

async function pathsOf(
  services: Pick<ArtifactServices, 'tree'>,
  id: string,
  rev: string,
  wanted: readonly string[] | undefined,
): Promise<string[]> {
  const all = new Set<string>()
  for (let after: string | undefined; ; ) {
    const page = await services.tree(id, {
      rev,
      recursive: 'true',
      limit: 500,
      ...(after === undefined ? {} : { after }),
    })
    for (const { path, type } of page.entries) if (type === 'file' && isWanted(path, wanted)) all.add(path)
    if (all.size > LIMITS.inputFiles) throw tooLarge(`it has more than ${LIMITS.inputFiles} files`)
    if (page.next === undefined) break
    after = page.next
  }
  for (const want of wanted ?? []) {
    if (![...all].some((path) => isWanted(path, [want])))
      throw new MeshError(
        'E_NOT_FOUND',
        `Cannot take the artifact as input: there is no "${want}" in ${rev.slice(0, 10)}`,
      )
  }
  return [...all]
}

function isWanted(path: string, wanted: readonly string[] | undefined): boolean {
  if (wanted === undefined) return true
  return wanted.some((want) => path === want || path.startsWith(want.endsWith('/') ? want : `${want}/`))
}

function tooLarge(why: string): MeshError {
  return new MeshError('E_TOO_LARGE', `Cannot take the artifact as input: ${why}`, {
    hint: 'Name the paths that the program needs',
  })
}
