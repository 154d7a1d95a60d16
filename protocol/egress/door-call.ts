/** The host function behind `fetch`; programs do not find it on `env`, and no client can offer one of that name. */
export const DOOR_CALL = 'manyhands:fetch'
