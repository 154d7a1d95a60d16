/**
 * Whether a result is one its order can have. What a node says is its own claim, but it must be of the right shape, within the limits, and signed by that node as
 * what it is: a result that breaks this would otherwise be stored as the task's one result and could never be read again.
 */
import { openReceipt } from '../../protocol/receipt/receipt.ts'
import { digestOfInputs, digestOfOutputs } from './digest.ts'
import type { Order, OrderResult } from './worker.ts'

/** @param node that sent it. @returns what is wrong, or undefined */
export function resultFault(order: Order, result: OrderResult, node: string): string | undefined {
  if (result.again) return undefined
  return shapeFault(order, result) ?? (node === order.delegator ? undefined : receiptFault(order, result, node))
}

function shapeFault(order: Order, { output, error, pieces }: OrderResult): string | undefined {
  if (order.kind !== 'batch' && pieces.length > 0) return 'it has pieces and is no batch'
  if (order.kind !== 'run' && error === undefined && output !== undefined && output !== '')
    return 'it has an output and is no run'
  if (error !== undefined)
    return order.kind === 'batch' ? 'it is a batch and has an error in place of its pieces' : undefined
  switch (order.kind) {
    case 'run':
      return textFault(output, order)
    case 'batch':
      if (pieces.length !== order.inputs.length)
        return `it has ${pieces.length} pieces for ${order.inputs.length} inputs`
      return pieces
        .map((piece) => (piece.ok ? textFault(piece.output, order) : undefined))
        .find((fault) => fault !== undefined)
    case 'session':
      return undefined
  }
}

function textFault(text: string | undefined, { limits }: Order): string | undefined {
  if (text === undefined) return 'it has neither an output nor an error'
  if (Buffer.byteLength(text) > limits.outputBytes) return 'an output is larger than its limit'
  try {
    JSON.parse(text)
    return undefined
  } catch {
    return 'an output is not JSON'
  }
}

/** The calls of a session are not kept here, so only what its receipt says of the order is compared. */
function receiptFault(order: Order, result: OrderResult, node: string): string | undefined {
  const statement = openReceipt(parsed(result.receipt))
  if (typeof statement === 'string') return `its receipt cannot be trusted: ${statement}`
  const { predicate: said, subject } = statement
  const isOfOrder =
    said.node === node &&
    said.delegator === order.delegator &&
    said.task === order.task &&
    said.epoch === order.epoch &&
    said.kind === order.kind &&
    said.program.sha256 === order.digest
  if (!isOfOrder) return 'its receipt is of other work'
  if (said.error !== result.error?.code) return 'its receipt tells of another outcome'
  if (order.kind === 'session') return undefined
  if (said.input.sha256 !== digestOfInputs(order.inputs)) return 'its receipt is of other inputs'
  const isSame =
    result.error !== undefined || subject[0].digest.sha256 === digestOfOutputs(outputOf(order, result), result.pieces)
  return isSame ? undefined : 'its receipt is of another output'
}

/** A batch has its outputs in its pieces. */
function outputOf(order: Order, { output }: OrderResult): string | undefined {
  return order.kind === 'run' ? output : undefined
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}
