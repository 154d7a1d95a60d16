/** Words of the command line that must be one of a few, or come in two parts. */
import { ManyhandsError } from '../../sdk/src/index.ts'

/** @throws ManyhandsError E_BAD_REQUEST when the value is given and none of those */
export function chosen<T extends string>(
  what: string,
  value: string | undefined,
  allowed: readonly T[],
): T | undefined {
  const found = allowed.find((one) => one === value)
  if (value === undefined || found !== undefined) return found
  throw new ManyhandsError('E_BAD_REQUEST', `Cannot take "${value}" as ${what}`, {
    hint: `One of: ${allowed.join(', ')}`,
  })
}

/** At the first mark; without one all of it is the second part. */
export function split(text: string, mark: string): [before: string, after: string] {
  const at = text.indexOf(mark)
  return at < 0 ? ['', text] : [text.slice(0, at), text.slice(at + mark.length)]
}
