/** Input of the store's callers, checked. */
import { type Attribution, attributionSchema } from '../../../protocol/artifact/record.ts'
import { type ArtifactSettings, settingsSchema } from '../../../protocol/artifact/settings.ts'
import { isArtifactId } from '../../../protocol/artifact/genesis.ts'
import { MeshError } from '../../../protocol/errors.ts'
import { plainIssue, whatDoesNotFit } from '../../../protocol/plain-issue.ts'

export function checkedAttribution(by: Attribution): Attribution {
  const { data } = attributionSchema.safeParse(by)
  if (data !== undefined) return data
  throw new MeshError(
    'E_BAD_REQUEST',
    'Cannot say who moved a ref: agent, task, grant, receipt or reason has not its form',
  )
}

export function checkedSettings(settings: object): ArtifactSettings {
  const { data, error } = settingsSchema.safeParse(settings, { error: plainIssue })
  if (data !== undefined && !isArtifactId(data.name)) return data
  const hint = SETTING_HINTS[String(error?.issues[0]?.path[0] ?? 'name')]
  throw new MeshError(
    'E_BAD_REQUEST',
    `Cannot use the settings: ${error ? whatDoesNotFit(error) : 'the name has the form of an id'}`,
    hint === undefined ? {} : { hint },
  )
}

const NODES_HINT = 'Name members of the mesh; see them with: manyhands members'
const SETTING_HINTS: Readonly<Record<string, string>> = {
  name: 'A name is 1 to 64 of a-z, 0-9, ".", "_", "-", begins and ends with a letter or digit, and does not end in ".git".',
  readers: NODES_HINT,
  delegates: NODES_HINT,
}

export function pageSize(limit: number | undefined, fallback: number, most: number): number {
  const size = limit ?? fallback
  if (Number.isSafeInteger(size) && size >= 1 && size <= most) return size
  throw new MeshError('E_BAD_REQUEST', `Cannot list: the limit must be a whole number from 1 to ${most}`)
}

export function frozen(): MeshError {
  return new MeshError('E_FROZEN', 'Cannot move refs: this node signed two different records under one number', {
    hint: 'Look at both with `manyhands artifact verify`; go on in a fork.',
  })
}
