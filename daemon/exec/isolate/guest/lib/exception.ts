/** DOMException (WebIDL 3.14): an Error with a name from a fixed list and the number it once had. */
const NAMES = [
  ['IndexSizeError', 'INDEX_SIZE_ERR'],
  ['', 'DOMSTRING_SIZE_ERR'],
  ['HierarchyRequestError', 'HIERARCHY_REQUEST_ERR'],
  ['WrongDocumentError', 'WRONG_DOCUMENT_ERR'],
  ['InvalidCharacterError', 'INVALID_CHARACTER_ERR'],
  ['', 'NO_DATA_ALLOWED_ERR'],
  ['NoModificationAllowedError', 'NO_MODIFICATION_ALLOWED_ERR'],
  ['NotFoundError', 'NOT_FOUND_ERR'],
  ['NotSupportedError', 'NOT_SUPPORTED_ERR'],
  ['InUseAttributeError', 'INUSE_ATTRIBUTE_ERR'],
  ['InvalidStateError', 'INVALID_STATE_ERR'],
  ['SyntaxError', 'SYNTAX_ERR'],
  ['InvalidModificationError', 'INVALID_MODIFICATION_ERR'],
  ['NamespaceError', 'NAMESPACE_ERR'],
  ['InvalidAccessError', 'INVALID_ACCESS_ERR'],
  ['', 'VALIDATION_ERR'],
  ['TypeMismatchError', 'TYPE_MISMATCH_ERR'],
  ['SecurityError', 'SECURITY_ERR'],
  ['NetworkError', 'NETWORK_ERR'],
  ['AbortError', 'ABORT_ERR'],
  ['URLMismatchError', 'URL_MISMATCH_ERR'],
  ['QuotaExceededError', 'QUOTA_EXCEEDED_ERR'],
  ['TimeoutError', 'TIMEOUT_ERR'],
  ['InvalidNodeTypeError', 'INVALID_NODE_TYPE_ERR'],
  ['DataCloneError', 'DATA_CLONE_ERR'],
] as const

class DOMException extends Error {
  #name = 'Error'

  constructor(message: unknown = '', options: unknown = 'Error') {
    const named = typeof options === 'object' && options !== null
    super(`${message}`, named && 'cause' in options ? { cause: options.cause } : undefined)
    const name = named ? ((options as { name?: unknown }).name ?? 'Error') : options
    this.#name = `${name}`
  }

  override get name(): string {
    return #name in this ? this.#name : 'Error'
  }

  get code(): number {
    return NAMES.findIndex(([name]) => name !== '' && name === this.#name) + 1
  }
}

Object.defineProperty(DOMException.prototype, Symbol.toStringTag, { value: 'DOMException', configurable: true })
for (const property of ['name', 'code']) Object.defineProperty(DOMException.prototype, property, { enumerable: true })
NAMES.forEach(([, constant], index) => {
  const descriptor = { value: index + 1, enumerable: true }
  Object.defineProperty(DOMException, constant, descriptor)
  Object.defineProperty(DOMException.prototype, constant, descriptor)
})

export default () => ({ DOMException })
