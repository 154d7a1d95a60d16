/** atob and btoa (HTML 8.3) with the forgiving decoder of Infra 5. */
import type { Realm } from '../realm.ts'
import { answered, needArguments } from './web-idl.ts'

export default ({ host }: Realm) => ({
  btoa: function btoa(data: unknown) {
    needArguments(arguments.length, 1, 'btoa')
    const text = `${data}`
    // biome-ignore lint: control characters are part of the range
    if (/[^\0-\xff]/.test(text))
      throw new DOMException(
        'btoa: the text holds characters above U+00FF; encode it with TextEncoder first',
        'InvalidCharacterError',
      )
    return answered(host('btoa', text), 'btoa')
  },
  atob: function atob(data: unknown) {
    needArguments(arguments.length, 1, 'atob')
    const text = `${data}`.replace(/[\t\n\f\r ]/g, '')
    const body = text.length % 4 === 0 ? text.replace(/={1,2}$/, '') : text
    if (body.length % 4 === 1 || /[^A-Za-z0-9+/]/.test(body))
      throw new DOMException('atob: the text is not base64', 'InvalidCharacterError')
    return answered(host('atob', body), 'atob')
  },
})
