/** The project's folder, absolute. */
export const root: string
/** The Node binary everything after setup runs on. Throws when there is none new enough. */
export function nodeBinary(): string
/** Writes wire.js and wire.d.ts from proto/*.proto into the folder `into`. */
export function generateProto(into: string): void
/** Brings the clone to where everything can run. `only` names the products wanted (default: all); `force` makes them even when current. */
export function setup(options?: { readonly force?: boolean; readonly only?: readonly string[] }): void
