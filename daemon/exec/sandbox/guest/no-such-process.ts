import { MeshError } from '../../../../protocol/errors.ts'

/** What `attach` of every guest connection throws for an id that it does not know. */
export function noSuchProcess(id: number): MeshError {
  return new MeshError('E_NOT_FOUND', `There is no background process ${id} in this sandbox`, {
    hint: 'See those there are with: manyhands sandbox ps <sandbox>',
  })
}
