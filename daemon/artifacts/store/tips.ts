/** That refs only ever name objects that are there, and of the right type. */
import type { RefMove } from '../../../protocol/artifact/record.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { isObjectType, type GitObject, type ObjectType } from './git-object.ts'
import { gitOutput } from './git-process.ts'
import type { ObjectReader } from './object-reader.ts'
import { wantedType } from './plan-moves.ts'

export interface TipSources {
  readonly objects?: readonly GitObject[] | undefined
  readonly staging?: { readonly path: string } | undefined
  /** Types that are known of what is in the staging */
  readonly kinds?: ReadonlyMap<string, ObjectType> | undefined
  readonly checked?: boolean
}

/** @param where the repository, when it is needed @throws MeshError E_BAD_REQUEST when an object is missing or is no commit where one is wanted */
export async function checkTips(
  reader: ObjectReader,
  where: () => Promise<string>,
  moves: readonly Pick<RefMove, 'ref' | 'new'>[],
  sources: TipSources,
): Promise<void> {
  if (sources.checked === true) return
  const given = new Map([
    ...(sources.kinds ?? []),
    ...(sources.objects ?? []).map((object) => [object.oid, object.type] as const),
  ])
  const wanted = moves.flatMap(({ ref, new: tip }) => (tip === null ? [] : [{ ref, tip }]))
  const asked = new Set(wanted.filter(({ tip }) => !given.has(tip)).map(({ tip }) => tip))
  const found =
    sources.staging === undefined ? await typesIn(reader, where, asked) : await typesStaged(sources.staging.path, asked)
  for (const { ref, tip } of wanted) {
    const type = given.get(tip) ?? found.get(tip)
    if (type === undefined) throw bad(ref, `${tip} is not in the artifact`)
    const needed = wantedType(ref)
    if (needed !== undefined && type !== needed) throw bad(ref, `it is to name a ${needed}, and ${tip} is a ${type}`)
  }
}

async function typesIn(
  reader: ObjectReader,
  where: () => Promise<string>,
  oids: ReadonlySet<string>,
): Promise<Map<string, ObjectType>> {
  const found = new Map<string, ObjectType>()
  if (oids.size === 0) return found
  const repository = await where()
  const answers = await Promise.all([...oids].map((oid) => reader.info(repository, oid)))
  for (const info of answers) if (info !== undefined) found.set(info.oid, info.type)
  return found
}

/** The quarantine lives once, so a process for it is not kept. */
async function typesStaged(path: string, oids: ReadonlySet<string>): Promise<Map<string, ObjectType>> {
  const found = new Map<string, ObjectType>()
  if (oids.size === 0) return found
  const call = { args: ['cat-file', '--batch-check'], repository: path, foreign: false }
  const answer = await gitOutput(call, `${[...oids].join('\n')}\n`)
  for (const line of answer.toString('utf8').split('\n')) {
    const [oid = '', type] = line.split(' ')
    if (isObjectType(type)) found.set(oid, type)
  }
  return found
}

function bad(ref: string, why: string): MeshError {
  return new MeshError('E_BAD_REQUEST', `Cannot move ${ref}: ${why}`, { details: { ref } })
}
