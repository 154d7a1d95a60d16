/** Checks receipts offline: needs no daemon, only the file. */
import { ManyhandsError, type ReceiptCheck, verifyReceipt } from '../../../sdk/src/index.ts'
import type { Context } from '../context.ts'
import { EXIT } from '../exit.ts'
import { parseJson, readText } from '../inputs.ts'
import { receiptsText } from '../views.ts'

/** A map has a receipt for each of its pieces, of a kilobyte or more */
const MAX_BYTES = 256 << 20

/** The file holds one envelope, an array of them, what `task receipts` prints, or one of these a line. Exit code 65 when one is not valid. */
export async function verify(context: Context, file: string): Promise<number> {
  const { output } = context
  const checks = envelopesOf(await readText(file, context, MAX_BYTES), file).map(verifyReceipt)
  if (checks.length === 0) throw new ManyhandsError('E_NOT_FOUND', `Cannot verify ${file}: it holds no receipt`)
  const valid = checks.every((check: ReceiptCheck) => check.valid)
  await output.answer({ valid, receipts: checks }, () => receiptsText(checks, output.io.columns))
  return valid ? 0 : EXIT.E_SIGNATURE
}

function envelopesOf(text: string, file: string): unknown[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  // Pretty-printed JSON has no line that is JSON by itself
  const values =
    lines.length > 1 && isJson(lines[0] ?? '') ? lines.map((line) => parseJson(line, file)) : [parseJson(text, file)]
  return values.flatMap(unwrap)
}

function unwrap(value: unknown): unknown[] {
  if (Array.isArray(value)) return value
  if (typeof value === 'object' && value !== null && 'receipts' in value && Array.isArray(value.receipts))
    return value.receipts
  return [value]
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
