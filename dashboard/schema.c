/* Prints dashboard/schema.js: the tables that decode.js follows, taken from the
 * descriptors that protoc-c made of introspection.proto. */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "introspection.pb-c.h"

enum { TYPES_MAX = 64 };

struct types {
	const void *all[TYPES_MAX];
	size_t count;
};

/* False when the type was there before. */
static bool add(struct types *types, const void *type)
{
	for (size_t i = 0; i < types->count; i++) {
		if (types->all[i] == type)
			return false;
	}
	if (types->count < TYPES_MAX)
		types->all[types->count] = type;
	types->count++;
	return true;
}

static void collect(struct types *messages, struct types *enums,
                    const ProtobufCMessageDescriptor *message)
{
	if (!add(messages, message) || messages->count > TYPES_MAX)
		return;
	for (unsigned i = 0; i < message->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->fields[i];

		if (field->type == PROTOBUF_C_TYPE_MESSAGE)
			collect(messages, enums, field->descriptor);
		else if (field->type == PROTOBUF_C_TYPE_ENUM)
			add(enums, field->descriptor);
	}
}

static const char *without_package(const char *name)
{
	const char *dot = strchr(name, '.');

	return dot ? dot + 1 : name;
}

/* NULL for a type that decode.js does not read. */
static const char *type_name(const ProtobufCFieldDescriptor *field)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_UINT32:
		return "uint32";
	case PROTOBUF_C_TYPE_UINT64:
		return "uint64";
	case PROTOBUF_C_TYPE_BOOL:
		return "bool";
	case PROTOBUF_C_TYPE_STRING:
		return "string";
	case PROTOBUF_C_TYPE_BYTES:
		return "bytes";
	case PROTOBUF_C_TYPE_ENUM:
		return without_package(((const ProtobufCEnumDescriptor *)field->descriptor)->name);
	case PROTOBUF_C_TYPE_MESSAGE:
		return without_package(((const ProtobufCMessageDescriptor *)field->descriptor)->name);
	default:
		return NULL;
	}
}

static bool print_message(const ProtobufCMessageDescriptor *message)
{
	printf("'%s':{", without_package(message->name));
	for (unsigned i = 0; i < message->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->fields[i];
		const char *type = type_name(field);

		if (!type) {
			fprintf(stderr, "schema: %s.%s has a type that decode.js does not read\n",
			        message->name, field->name);
			return false;
		}
		printf("%u:['%s','%s',%d", field->id, field->name, type,
		       field->label == PROTOBUF_C_LABEL_REPEATED);
		if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
			printf(",%u", field->quantifier_offset);
		printf("],");
	}
	printf("},\n");
	return true;
}

static void print_enum(const ProtobufCEnumDescriptor *type)
{
	printf("'%s':{", without_package(type->name));
	for (unsigned i = 0; i < type->n_values; i++)
		printf("%d:'%s',", type->values[i].value, type->values[i].name);
	printf("},\n");
}

int main(void)
{
	struct types messages = { .count = 0 };
	struct types enums = { .count = 0 };

	collect(&messages, &enums, &introspection__server_message__descriptor);
	collect(&messages, &enums, &introspection__client_command__descriptor);
	collect(&messages, &enums, &introspection__ready__descriptor);
	if (messages.count > TYPES_MAX || enums.count > TYPES_MAX) {
		fprintf(stderr, "schema: more than %d types\n", TYPES_MAX);
		return 1;
	}

	printf("// Made from introspection.proto by dashboard/schema.c.\n"
	       "// number: [name, type, repeated, oneof that it belongs to]\n"
	       "export const messages = {\n");
	for (size_t i = 0; i < messages.count; i++) {
		if (!print_message(messages.all[i]))
			return 1;
	}
	printf("};\nexport const enums = {\n");
	for (size_t i = 0; i < enums.count; i++)
		print_enum(enums.all[i]);
	printf("};\n");
	return fflush(stdout) != 0 || ferror(stdout);
}
