import { expect, it } from 'vitest'
import { commitRequest } from './artifact-requests.ts'

it('refuses text that no file can hold, which would be committed as another text', () => {
  const accepts = (text: string): boolean =>
    commitRequest.safeParse({ files: [{ path: 'a', text }], message: 'm' }).success
  expect(['', 'a\u{1f600}', '\ufeff\0', 'a\ud800', '\udc00b'].map(accepts)).toEqual([true, true, true, false, false])
})
