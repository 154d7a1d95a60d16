/** The parts that every row of the local API's route types is made of. */

/** `open`: no token (liveness, challenge). `read`: sees. `run`: starts and cancels work. `admin`: changes the node or the mesh. Each includes the ones before. */
export type Access = 'open' | 'read' | 'run' | 'admin'

/** text/event-stream with ids; `Last-Event-ID` resumes. */
export interface EventStream<T> {
  readonly stream: T
}
export interface Upgrade {
  readonly upgrade: true
}

export interface Row<Method extends 'GET' | 'POST' | 'DELETE', A extends Access, Query, Body, Reply> {
  readonly method: Method
  readonly access: A
  readonly query: Query
  readonly body: Body
  readonly reply: Reply
}
