import { expect, test } from 'vitest'
import { MeshError } from '../../../protocol/errors.ts'
import { checkedSettings } from './checked.ts'

function hintOf(settings: object): string | undefined {
  try {
    checkedSettings(settings)
  } catch (error) {
    if (error instanceof MeshError && error.code === 'E_BAD_REQUEST') return error.hint
  }
  throw new Error('They were not refused')
}

test('settings that do not fit are refused with a hint about what does not fit', () => {
  expect(hintOf({ name: 'No Name' })).toMatch(/^A name is/)
  expect(hintOf({ name: 'notes', delegates: ['bob'] })).toMatch(/manyhands members/)
  expect(hintOf({ name: 'notes', threshold: 0 })).toBeUndefined()
})
