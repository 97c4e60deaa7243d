#ifndef JSON_H
#define JSON_H

/* ProtoJSON, the JSON form that protobuf defines for its messages. */

#include <stdio.h>

#include <protobuf-c/protobuf-c.h>

/* Writes a message of the schema as one JSON object, without a newline: names
 * in lowerCamelCase, enum values by name, 64-bit numbers as strings, bytes as
 * base64, fields that have their default value left out. Unknown fields are
 * left out too. Recurses as deep as the message does, which wire_check bounds.
 * Errors are the stream's, to be asked for with ferror(). */
void json_write(FILE *out, const ProtobufCMessage *message);

#endif
