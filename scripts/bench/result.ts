/** One measured number as a bench prints it: a JSON object on a line of its own. */
import { z } from 'zod'

const Bound = z.string().regex(/^(?:<=|>=) \d+(?:\.\d+)?$/, 'is written "<= 1.5" or ">= 3"')

const Result = z.strictObject({
  /** What was measured, in words */
  what: z.string().min(1),
  value: z.number(),
  unit: z.string().min(1),
  /** What `value` must keep to, in the same unit */
  bar: Bound.optional(),
  /** The raw library or rival measured in the same run */
  against: z.string().optional(),
  /** The rival's value, in the same unit */
  rival: z.number().optional(),
  /** How many times better than the rival; above 1 is better */
  ratio: z.number().optional(),
  ratioBar: Bound.optional(),
  /** Sample, noise, what is left out */
  note: z.string().optional(),
})
export type Result = z.infer<typeof Result>

/** The result on this line, or undefined when it is other output. Throws when a line looks like a result and is not a valid one. */
export function parseResult(line: string): Result | undefined {
  if (!line.startsWith('{"what":')) return undefined
  const value: unknown = JSON.parse(line)
  const result = Result.safeParse(value)
  if (!result.success) throw new Error(`Cannot read a bench result: ${z.prettifyError(result.error)} in ${line}`)
  return result.data
}

function keeps(value: number, bound: string | undefined): boolean {
  if (bound === undefined) return true
  const limit = Number(bound.slice(3))
  return bound.startsWith('<=') ? value <= limit : value >= limit
}

export const meetsBars = (result: Result): boolean =>
  keeps(result.value, result.bar) &&
  (result.ratio === undefined ? result.ratioBar === undefined : keeps(result.ratio, result.ratioBar))
