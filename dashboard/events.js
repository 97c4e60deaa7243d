// The command protocol as far as live events need it: says HELLO, asks for the
// runtime, which names the kinds of events, and has events pushed.

import { offers } from './connection.js';
import { decode, encode } from './decode.js';
import { fnv1a } from './recording.js';

const HEADER = 12;   // bytes: version, checksum, length

// The message in a frame (an ArrayBuffer), or undefined when the frame is bad.
export function unwrap(frame) {
  if (frame.byteLength < HEADER)
    return undefined;
  const view = new DataView(frame), message = new Uint8Array(frame, HEADER);
  const good = view.getUint32(0, true) === 1 && view.getUint32(8, true) === message.length &&
    view.getUint32(4, true) === fnv1a(message);
  return good ? message : undefined;
}

// url: of the daemon's pull protocol. onmessage is given the bytes of each
// ServerMessage that is an event or a runtime. Returns a function that ends it.
export function watchEvents(url, onmessage) {
  const socket = new WebSocket(new URL('introspect', url), offers(url));
  socket.binaryType = 'arraybuffer';
  let id = 0;
  const command = (command, source = 'STATE') =>
    socket.send(encode('ClientCommand', { version: { version: 1 }, id: ++id, command, source }));
  socket.onopen = () => command('HELLO');
  socket.onmessage = ({ data }) => {
    const bytes = data instanceof ArrayBuffer && unwrap(data);
    if (!bytes)
      return socket.close();
    const message = decode('ServerMessage', bytes);
    if (Object.hasOwn(message, 'response')) {
      if (message.response.id === 1 && message.response.result === 'OK') {
        command('REQUEST', 'RUNTIME');
        command('PUSH_ENABLE', 'EVENTS');
      }
    } else if (Object.hasOwn(message, 'event') || Object.hasOwn(message, 'runtime')) {
      onmessage(bytes);
    }
  };
  return () => socket.close();
}
