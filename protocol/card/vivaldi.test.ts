import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Coordinate, distanceMs, isCoordinate, moved, ORIGIN } from './vivaldi.ts'

const number = fc.double({ min: -60_000, max: 60_000, noNaN: true })
const positive = fc.double({ min: 0, max: 60_000, noNaN: true })
const coordinate: fc.Arbitrary<Coordinate> = fc.record({ x: number, y: number, height: positive, error: positive })

describe('network coordinates', () => {
  test('no measurement and no lie make a coordinate that is none', () => {
    fc.assert(
      fc.property(
        coordinate,
        coordinate,
        fc.oneof(fc.double(), positive),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (self, remote, rtt, random) => {
          const next = moved(self, remote, rtt, random)
          expect(isCoordinate(next)).toBe(true)
          // A step is bounded, so one liar cannot throw us far.
          expect(Math.hypot(next.x - self.x, next.y - self.y)).toBeLessThanOrEqual(100.001)
        },
      ),
    )
  })

  test('distance is symmetric and never negative', () => {
    fc.assert(
      fc.property(coordinate, coordinate, (a, b) => distanceMs(a, b) === distanceMs(b, a) && distanceMs(a, b) >= 0),
    )
  })

  test('nodes on a plane learn their distances', () => {
    const points = Array.from({ length: 20 }, (_, at) => ({ x: (at * 37) % 100, y: (at * 61) % 100 }))
    const rtt = (a: number, b: number) =>
      Math.hypot((points[a]?.x ?? 0) - (points[b]?.x ?? 0), (points[a]?.y ?? 0) - (points[b]?.y ?? 0)) + 2
    const nodes: Coordinate[] = points.map(() => ORIGIN)
    let seed = 1
    const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647
    for (let step = 0; step < 20_000; step++) {
      const [a, b] = [Math.floor(random() * 20), Math.floor(random() * 20)]
      if (a !== b) nodes[a] = moved(nodes[a] ?? ORIGIN, nodes[b] ?? ORIGIN, rtt(a, b), random())
    }
    const errors: number[] = []
    for (let a = 0; a < 20; a++)
      for (let b = 0; b < a; b++)
        errors.push(Math.abs(distanceMs(nodes[a] ?? ORIGIN, nodes[b] ?? ORIGIN) - rtt(a, b)) / rtt(a, b))
    expect(errors.sort((a, b) => a - b)[Math.floor(errors.length / 2)]).toBeLessThan(0.1)
  })
})
