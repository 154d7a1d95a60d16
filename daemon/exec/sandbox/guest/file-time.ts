/** The range of a JavaScript date, milliseconds: some file systems hold times far beyond it */
const FURTHEST_MS = 8.64e15

/** A file's time of change as a date can hold it. @param ms since 1970, any number */
export const fileTime = (ms: number): number => Math.max(-FURTHEST_MS, Math.min(FURTHEST_MS, ms))
