import { expect, it } from 'vitest'
import { readLfsPointer } from './lfs-pointer.ts'

const oid = 'ab'.repeat(32)
const read = (text: string) => readLfsPointer(Buffer.from(text))

it('reads what Git LFS writes, with extensions and by the older name', () => {
  const version = 'version https://git-lfs.github.com/spec/v1\n'
  expect(read(`${version}oid sha256:${oid}\nsize 12345\n`)).toEqual({ oid, size: 12345 })
  expect(read(`${version}ext-0-foo sha256:${'0'.repeat(64)}\noid sha256:${oid}\nsize 0\n`)).toEqual({ oid, size: 0 })
  expect(read(`version https://hawser.github.com/spec/v1\noid sha256:${oid}\nsize 1`)).toEqual({ oid, size: 1 })
})

it('takes nothing else for one', () => {
  const good = `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize 1\n`
  const bad = [
    '',
    ` ${good}`,
    good.replace('v1', 'v9'),
    good.replace(oid, oid.toUpperCase()),
    good.replace('size 1', 'size -1'),
    good.replace('size 1', 'size 1e3'),
    good.replace('size 1\n', `size 1\n${'x'.repeat(1000)}`),
    `${'#'.repeat(1024)}${good}`,
  ]
  for (const text of bad) expect(read(text)).toBeUndefined()
})
