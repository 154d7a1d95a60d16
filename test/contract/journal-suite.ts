import { hash } from 'node:crypto'
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Journal, RangeOptions } from '../../daemon/journal/journal.ts'
import { scopedKey } from '../../daemon/journal/scoped-key.ts'

export const CONTRACT_TYPES = ['test.happened', 'test.ended']

const text = (value: string): Uint8Array => Buffer.from(value)
const fact = (body: string) => ({ type: 'test.happened', body: text(body) })
const row = (table: string, key: string, value?: string) => ({
  table,
  key,
  ...(value === undefined ? {} : { value: text(value) }),
})
const shown = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString()

/** What every journal must do. @param make opens an empty one that understands CONTRACT_TYPES; whoever made it closes and removes it */
export function journalContract(name: string, make: () => Promise<Journal>): void {
  describe(`Journal (${name})`, () => {
    let journal: Journal

    beforeEach(async () => {
      journal = await make()
    })
    afterEach(() => journal.close())

    describe('append()', () => {
      it('numbers records from 1 in the order of the calls', async () => {
        expect(journal.head).toBe(0)
        const sequences = await Promise.all(Array.from({ length: 200 }, (_, i) => journal.append(fact(`${i}`))))
        expect(sequences).toEqual(Array.from({ length: 200 }, (_, i) => i + 1))
        expect(journal.head).toBe(200)
        expect((await journal.read(1)).map((record) => shown(record.body))).toEqual(sequences.map((n) => `${n - 1}`))
      })

      it('makes table writes of one record visible together, the last of a row winning', async () => {
        await journal.append({
          ...fact('a'),
          writes: [row('task', 'x', '1'), row('key', 'x', '2'), row('task', 'x', '3')],
        })
        expect(shown(journal.get('task', 'x'))).toBe('3')
        expect(shown(journal.get('key', 'x'))).toBe('2')
        await journal.append({ ...fact('b'), writes: [row('task', 'x')] })
        expect(journal.get('task', 'x')).toBeUndefined()
        expect(shown(journal.get('key', 'x'))).toBe('2')
      })

      it('keeps empty bodies, empty values and empty keys', async () => {
        await journal.append({ type: 'test.ended', body: new Uint8Array(), writes: [row('task', '', '')] })
        expect(shown(journal.get('task', ''))).toBe('')
        const [record] = await journal.read(1)
        expect(record).toMatchObject({ sequence: 1, type: 'test.ended' })
        expect(record?.body.length).toBe(0)
      })

      it.each([
        ['a type it does not know', { type: 'test.unknown', body: text('') }, 'E_BAD_REQUEST'],
        ['a table name with a slash', { ...fact(''), writes: [row('a/b', 'k', 'v')] }, 'E_BAD_REQUEST'],
        ['an empty table name', { ...fact(''), writes: [row('', 'k', 'v')] }, 'E_BAD_REQUEST'],
        ['half a surrogate pair in a key', { ...fact(''), writes: [row('task', 'a\ud800', 'v')] }, 'E_BAD_REQUEST'],
        ['a key above 512 bytes', { ...fact(''), writes: [row('task', 'ä'.repeat(257), 'v')] }, 'E_BAD_REQUEST'],
        ['a body above its limit', { type: 'test.happened', body: new Uint8Array((16 << 20) + 1) }, 'E_TOO_LARGE'],
        [
          'too many writes',
          { ...fact(''), writes: Array.from({ length: 2049 }, (_, i) => row('task', `${i}`, '')) },
          'E_TOO_LARGE',
        ],
      ])('refuses %s and goes on', async (_, record, code) => {
        await expect(journal.append(record)).rejects.toMatchObject({ code })
        expect(journal.head).toBe(0)
        expect(await journal.append(fact('after'))).toBe(1)
      })

      it('accepts a key of exactly 512 bytes', async () => {
        const key = 'ä'.repeat(256)
        await journal.append({ ...fact(''), writes: [row('task', key, 'v')] })
        expect((await journal.range('task')).map((found) => found.key)).toEqual([key])
      })
    })

    describe('read()', () => {
      it('answers records from a sequence on, at most `limit`', async () => {
        for (let i = 0; i < 3; i++) await Promise.all([1, 2, 3, 4].map((n) => journal.append(fact(`${i * 4 + n}`))))
        const numbers = async (from: number, limit?: number) => (await journal.read(from, limit)).map((r) => r.sequence)
        expect(await numbers(0, 2)).toEqual([1, 2])
        expect(await numbers(6, 4)).toEqual([6, 7, 8, 9])
        expect(await numbers(12)).toEqual([12])
        expect(await numbers(13)).toEqual([])
      })

      it('gives each record the hash that the next one is chained to', async () => {
        await Promise.all(['a', 'b', 'c'].map((body) => journal.append(fact(body))))
        const records = await journal.read(1)
        expect(new Set(records.map((record) => Buffer.from(record.hash).toString('hex'))).size).toBe(3)
        expect(records.map((record) => record.hash.length)).toEqual([32, 32, 32])
        // the first record by hand, from the format in record.ts
        const bytes = Buffer.concat([Buffer.alloc(50), text('test.happened'), text('a')])
        bytes.writeUInt32BE(bytes.length, 0)
        bytes.writeUInt8(1, 8)
        bytes.writeUInt8(13, 9)
        bytes.writeBigUInt64BE(1n, 10)
        const { crc32 } = await import('node:zlib')
        bytes.writeUInt32BE(crc32(bytes.subarray(8)), 4)
        expect(Buffer.from(records[0]?.hash ?? []).toString('hex')).toBe(hash('sha256', bytes))
      })

      it.each([0, 10_001, 1.5, Number.NaN])('refuses the limit %s', async (limit) => {
        await expect(journal.read(1, limit)).rejects.toMatchObject({ code: 'E_BAD_REQUEST' })
      })
    })

    describe('range()', () => {
      const keys = ['a', 'a/1', 'a/2', 'b', 'z', 'é', '\uffff', '😀']
      beforeEach(async () => {
        const writes = keys.map((key) => row('task', key, key))
        await journal.append({
          ...fact(''),
          writes: [...writes.toReversed(), row('tas', 'k1', ''), row('task2', '1', '')],
        })
      })
      const found = async (options?: RangeOptions) => {
        const rows = (await journal.range('task', options)).map((r) => r.key)
        expect(await journal.keys('task', options)).toEqual(rows)
        return rows
      }

      it('answers the rows of one table in the order of their keys as UTF-8', async () => {
        expect(await found()).toEqual(keys)
        expect(await found({ reverse: true })).toEqual(keys.toReversed())
        expect((await journal.range('task')).map((r) => shown(r.value))).toEqual(keys)
        expect(await journal.range('other')).toEqual([])
      })

      it('knows prefix, after, reverse and limit', async () => {
        expect(await found({ prefix: 'a' })).toEqual(['a', 'a/1', 'a/2'])
        expect(await found({ prefix: 'a/', reverse: true })).toEqual(['a/2', 'a/1'])
        expect(await found({ after: 'a/2' })).toEqual(['b', 'z', 'é', '\uffff', '😀'])
        expect(await found({ after: 'a/2', reverse: true })).toEqual(['a/1', 'a'])
        expect(await found({ after: 'a/1', prefix: 'a' })).toEqual(['a/2'])
        expect(await found({ after: 'b', prefix: 'a', reverse: true })).toEqual(['a/2', 'a/1', 'a'])
        expect(await found({ after: '0', prefix: 'a' })).toEqual(['a', 'a/1', 'a/2'])
        expect(await found({ after: 'b', prefix: 'a' })).toEqual([])
        expect(await found({ after: '0', prefix: 'a', reverse: true })).toEqual([])
        expect(await found({ limit: 2 })).toEqual(['a', 'a/1'])
        expect(await found({ limit: 2, reverse: true })).toEqual(['😀', '\uffff'])
      })

      it('pages through everything by `after`', async () => {
        const all: string[] = []
        for (let page = await found({ limit: 3 }); page.length > 0; ) {
          all.push(...page)
          page = await found({ limit: 3, after: page.at(-1) ?? '' })
        }
        expect(all).toEqual(keys)
      })
    })

    it('JRN-09: no text in a table name, tenant or key reaches into another', async () => {
      const nasty = fc.oneof(
        fc.constantFrom(
          '!',
          '/',
          '\x00',
          '\xff',
          'ÿ',
          '😀',
          'task',
          't\x04task',
          'r\x00\x00\x00\x00\x00\x00\x00\x01',
          'mbase',
          '1:a',
          'a2:',
        ),
        fc.string({ unit: 'grapheme', maxLength: 12 }),
        fc.string({ unit: fc.constantFrom('\x00', '!', '/', ':', '1', 'a', '\x7f', 'ÿ'), maxLength: 6 }),
      )
      const tables = fc.constantFrom('task', 'tas', 't', 'task-1', 'a')
      let round = 0
      await fc.assert(
        fc.asyncProperty(fc.array(fc.tuple(tables, nasty, nasty), { minLength: 1, maxLength: 20 }), async (entries) => {
          // each round in tenants of its own
          const mark = `${round++}`
          const expected = new Map<string, Map<string, string>>()
          const writes = entries.map(([table, tenant, key], i) => {
            const scope = `${table} ${tenant}`
            expected.set(scope, (expected.get(scope) ?? new Map<string, string>()).set(key, `${i}`))
            return row(table, scopedKey([mark, tenant], key), `${i}`)
          })
          await journal.append({ ...fact(''), writes })
          for (const [table, tenant] of entries) {
            const prefix = scopedKey([mark, tenant])
            const rows = await journal.range(table, { prefix })
            const got = new Map(rows.map((r) => [r.key.slice(prefix.length), shown(r.value)]))
            expect(got).toEqual(expected.get(`${table} ${tenant}`))
          }
        }),
        { numRuns: 30, seed: 9 },
      )
      expect(journal.head).toBe(30)
      expect(await journal.read(1)).toHaveLength(30)
    })

    describe('trim()', () => {
      it('drops records before a sequence and keeps tables, chain and numbering', async () => {
        await Promise.all(
          Array.from({ length: 10 }, (_, i) => journal.append({ ...fact(`${i}`), writes: [row('task', `${i}`, 'v')] })),
        )
        const before = await journal.read(1)
        await journal.trim(4)
        expect(await journal.read(1)).toEqual(before.slice(3))
        expect(await journal.read(5, 2)).toEqual(before.slice(4, 6))
        await journal.trim(2)
        expect(await journal.read(0)).toEqual(before.slice(3))
        expect(await journal.range('task')).toHaveLength(10)
        expect(await journal.append(fact('more'))).toBe(11)
        await journal.trim(1000)
        expect(await journal.read(0)).toEqual([])
        expect(journal.head).toBe(11)
        expect(await journal.append(fact('again'))).toBe(12)
        expect((await journal.read(1)).map((record) => record.sequence)).toEqual([12])
      })
    })

    describe('close()', () => {
      it('makes what is queued durable, then refuses', async () => {
        const appended = Array.from({ length: 50 }, (_, i) => journal.append(fact(`${i}`)))
        await journal.close()
        expect(await Promise.all(appended)).toHaveLength(50)
        await expect(journal.append(fact(''))).rejects.toMatchObject({ code: 'E_STOPPING' })
        await expect(journal.range('task')).rejects.toMatchObject({ code: 'E_STOPPING' })
        await expect(journal.trim(1)).rejects.toMatchObject({ code: 'E_STOPPING' })
        expect(() => journal.get('task', 'x')).toThrow(expect.objectContaining({ code: 'E_STOPPING' }))
        await journal.close()
      })
    })

    it('is in good health', () => {
      expect(journal.health()).toEqual({ state: 'ok' })
    })

    it('answers like a plain map under any sequence of writes', async () => {
      const key = fc.constantFrom('a', 'b', 'ab', '', '\x00', 'ÿ', '😀')
      const table = fc.constantFrom('x', 'xy')
      const write = fc.record({ table, key, value: fc.option(fc.uint8Array({ maxLength: 8 }), { nil: undefined }) })
      const model = new Map<string, Uint8Array>()
      await fc.assert(
        fc.asyncProperty(fc.array(fc.array(write, { maxLength: 4 }), { maxLength: 8 }), async (records) => {
          const appended = records.map((writes) =>
            journal.append({
              ...fact(''),
              writes: writes.map(({ value, ...place }) => (value === undefined ? place : { ...place, value })),
            }),
          )
          for (const { table, key, value } of records.flat()) {
            if (value === undefined) model.delete(`${table} ${key}`)
            else model.set(`${table} ${key}`, value)
          }
          await Promise.all(appended)
          const rows = (
            await Promise.all(
              ['x', 'xy'].map(async (t) =>
                (await journal.range(t)).map((r) => [`${t} ${r.key}`, Buffer.from(r.value).toString('hex')] as const),
              ),
            )
          ).flat()
          expect(new Map(rows)).toEqual(new Map([...model].map(([k, v]) => [k, Buffer.from(v).toString('hex')])))
          for (const { table, key } of records.flat()) {
            expect(Buffer.from(journal.get(table, key) ?? []).toString('hex')).toBe(
              Buffer.from(model.get(`${table} ${key}`) ?? []).toString('hex'),
            )
          }
        }),
        { numRuns: 25, seed: 7 },
      )
    })
  })
}
