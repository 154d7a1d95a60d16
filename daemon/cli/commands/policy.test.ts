import { expect, it } from 'vitest'
import { cliContext } from '../../../test/support/cli-context.ts'
import { allow } from './policy.ts'

it('a placeholder without a header to replace it in is refused: the rule would not hold it', async () => {
  await expect(allow(cliContext(), { host: 'a.example', placeholder: 'TOKEN' })).rejects.toMatchObject({
    code: 'E_BAD_REQUEST',
  })
})
