/** The Streams standard by web-streams-polyfill: loaded only by programs that touch a stream. */
import * as streams from 'web-streams-polyfill'

export default () => {
  // Only the interfaces are globals; the package exports nothing else.
  return { ...streams }
}
