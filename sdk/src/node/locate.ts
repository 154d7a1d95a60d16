/** Tells a failure inside a bundle in terms of the files it was made from. */
import type { JobFailure } from '../errors.ts'
import { codeFrame } from './code-frame.ts'
import { type Original, readSourceMap } from './source-map.ts'

/** @param name of the bundled module; positions in any other module are left alone */
export function locator(name: string, mapJson: string): (failure: JobFailure) => JobFailure {
  const map = readSourceMap(mapJson)
  const position = new RegExp(`${name.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)}:(\\d+):(\\d+)`, 'g')
  const relocate = (text: string): string =>
    text.replaceAll(position, (whole, line: string, column: string) => {
      const found = map.find(Number(line), Number(column))
      return found ? `${found.file}:${found.line}:${found.column}` : whole
    })
  return (failure) => {
    const { file, line, column, stack } = failure
    const moved = stack === undefined ? failure : { ...failure, stack: relocate(stack) }
    if (file !== name || line === undefined) return moved
    const found = map.find(line, column ?? 1)
    return found ? { ...moved, ...at(found) } : moved
  }
}

function at({ file, line, column, content }: Original): Partial<JobFailure> {
  const position = { file, line, column }
  return content === undefined ? position : { ...position, frame: codeFrame(content.split('\n'), 1, line, column) }
}
