/** The rules for tarballs let the package through and nothing else. */
import { expect, test } from 'vitest'
import { contentFaults, ROOT_CONTENTS, SDK_CONTENTS } from '../../scripts/pack/contents.ts'

test('what must be there suffices', () => {
  expect(contentFaults(ROOT_CONTENTS.must, ROOT_CONTENTS)).toEqual([])
  expect(contentFaults(SDK_CONTENTS.must, SDK_CONTENTS)).toEqual([])
})

test('a missing bundle is a fault', () => {
  expect(contentFaults(ROOT_CONTENTS.must.slice(1), ROOT_CONTENTS)).toEqual([`${ROOT_CONTENTS.must[0]} is missing`])
})

test.each([
  'test/a.test.ts',
  'node_modules/a/index.js',
  'daemon/main.ts',
  'dist/cli.js.map',
  'scripts/run.mjs',
  '.env',
  'proto/gen/wire.js',
  'dist/../x.js',
])('%s does not belong in the daemon package', (path) => {
  expect(contentFaults([...ROOT_CONTENTS.must, path], ROOT_CONTENTS)).toEqual([`${path} does not belong there`])
})
