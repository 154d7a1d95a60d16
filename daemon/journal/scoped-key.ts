/**
 * A row key made of parts from different owners, such as a tenant's name and the tenant's own id, so that no part can pretend to be another:
 * each scope part is written with its length in UTF-8 bytes ("5:alice"), as in netstrings (cr.yp.to/proto/netstrings.txt), and the rest follows raw.
 * `scopedKey(['alice'])` is the prefix of all of alice's keys and of nobody else's. Within a scope, keys sort by their rest.
 */
export function scopedKey(scope: readonly string[], rest = ''): string {
  return scope.map((part) => `${Buffer.byteLength(part)}:${part}`).join('') + rest
}
