import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ancestryQuestions, canonicalRefs, takeOver, type Voting } from './canonical-refs.ts'

const MAIN = 'refs/heads/main'

/** Commits are paths: "abc" descends from "ab" and from "a". */
const isAncestor = (a: string, b: string) => a !== b && b.startsWith(a)

function voting(threshold: number, tips: Record<string, string>): Voting {
  const refsOf = new Map(Object.entries(tips).map(([who, tip]) => [who, new Map([[MAIN, tip]])]))
  return { owner: 'o', delegates: ['x', 'y', 'z'], threshold, refsOf }
}

const main = (threshold: number, tips: Record<string, string>) => {
  const { refs, divided } = canonicalRefs(voting(threshold, tips), isAncestor)
  return { at: refs.get(MAIN), divided: divided.get(MAIN) }
}

describe('canonical refs', () => {
  test('with threshold 1 they are the owner’s, whatever others say', () => {
    expect(main(1, { o: 'a', x: 'abc', y: 'abc' })).toEqual({ at: 'a', divided: undefined })
    expect(main(1, { x: 'abc' }).at).toBeUndefined()
  })

  test('a quorum is at the most advanced commit that enough voters reached', () => {
    expect(main(2, { o: 'a', x: 'abc', y: 'ab' }).at).toBe('ab')
    expect(main(3, { o: 'a', x: 'abc', y: 'ab' }).at).toBe('a')
    expect(main(2, { o: 'a' }).at).toBeUndefined()
    expect(main(2, { o: 'ab', stranger: 'abc', other: 'abc' }).at).toBeUndefined()
  })

  test('a delegate who names itself twice, or is the owner too, has one vote', () => {
    const twice = { ...voting(2, { x: 'ab' }), delegates: ['x', 'x', 'o'] }
    expect(canonicalRefs(twice, isAncestor).refs.size).toBe(0)
  })

  test('voters that went apart divide the ref, which stays where all of them were', () => {
    expect(main(2, { o: 'ab', x: 'ab', y: 'ac', z: 'ac' })).toEqual({ at: undefined, divided: ['ab', 'ac'] })
    const five = { owner: 'o', delegates: ['v', 'w', 'x', 'y'], threshold: 2 }
    const tips = { o: 'a', v: 'ab', w: 'ab', x: 'ac', y: 'ac' }
    const refsOf = new Map(Object.entries(tips).map(([who, tip]) => [who, new Map([[MAIN, tip]])]))
    const { refs, divided } = canonicalRefs({ ...five, refsOf }, isAncestor)
    expect([refs.get(MAIN), divided.get(MAIN)]).toEqual(['a', ['ab', 'ac']])
  })

  test('the result does not depend on the order of voters, and asks only what it announced', () => {
    const path = fc.stringMatching(/^a[ab]{0,4}$/)
    fc.assert(
      fc.property(
        fc.array(path, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 2, max: 4 }),
        (paths, threshold) => {
          const names = ['o', 'x', 'y', 'z']
          const tips = Object.fromEntries(paths.map((tip, index) => [names[index] ?? '', tip]))
          const input = voting(threshold, tips)
          const announced = new Set(ancestryQuestions(input).map((pair) => pair.join(' ')))
          const asking = (a: string, b: string) => {
            expect(announced.has(`${a} ${b}`)).toBe(true)
            return isAncestor(a, b)
          }
          const result = canonicalRefs(input, asking)
          const turned = { ...input, delegates: input.delegates.toReversed() }
          expect(canonicalRefs(turned, isAncestor)).toEqual(result)
          const at = result.refs.get(MAIN)
          const votes = paths.filter((tip) => at !== undefined && tip.startsWith(at)).length
          if (at !== undefined) expect(votes).toBeGreaterThanOrEqual(threshold)
        },
      ),
    )
  })
})

describe('taking over from a delegate', () => {
  const canonical = new Map([[MAIN, 'ab']])
  const from = (old: string | null, tip: string | null, ref = MAIN) =>
    takeOver(canonical, [{ ref, old, new: tip }], isAncestor)

  test('only what goes forward from where the ref stands now', () => {
    expect(from('ab', 'abc')).toEqual([{ ref: MAIN, old: 'ab', new: 'abc' }])
    expect(from(null, 'abc')).toEqual([{ ref: MAIN, old: 'ab', new: 'abc' }])
    expect(from('a', 'ac')).toEqual([])
    expect(from('ab', null)).toEqual([])
    expect(from('a', 'ab')).toEqual([])
  })

  test('a new ref is taken over; one the owner deleted is not brought back', () => {
    expect(from(null, 'x', 'refs/heads/new')).toEqual([{ ref: 'refs/heads/new', old: null, new: 'x' }])
    expect(from('a', 'x', 'refs/heads/gone')).toEqual([])
  })
})
