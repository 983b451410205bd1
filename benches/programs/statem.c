/* A byte state machine: counts the tokens of a JSON text. */
#include "bench.h"

enum { SPACE, STRING, ESCAPE, NUMBER, WORD };

PROGRAM(statem)
{
	u32 state = SPACE, depth = ZERO, deepest = ZERO;
	u64 strings = ZERO, numbers = ZERO, words = ZERO, marks = ZERO, errors = ZERO;

	for (u64 at = ZERO; at < len; at++) {
		u8 c = mem[BELOW(at, 1024)];

		LOOP_MAY_END(out);
		switch (state) {
		case STRING:
			if (c == '\\')
				state = ESCAPE;
			else if (c == '"')
				state = SPACE;
			else if (c < 0x20)
				errors++;
			continue;
		case ESCAPE:
			if (c != 'n' && c != 't' && c != '"' && c != '\\' && c != 'u' && c != '/')
				errors++;
			state = STRING;
			continue;
		case NUMBER:
			if ((c >= '0' && c <= '9') || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-')
				continue;
			break;
		case WORD:
			if (c >= 'a' && c <= 'z')
				continue;
			break;
		}
		state = SPACE;
		if (c == '"') {
			state = STRING;
			strings++;
		} else if ((c >= '0' && c <= '9') || c == '-') {
			state = NUMBER;
			numbers++;
		} else if (c >= 'a' && c <= 'z') {
			state = WORD;
			words++;
		} else if (c == '{' || c == '[') {
			if (++depth > deepest)
				deepest = depth;
		} else if (c == '}' || c == ']') {
			depth--;
		} else if (c == ':' || c == ',') {
			marks++;
		} else if (c != ' ' && c != '\n') {
			errors++;
		}
	}
	LOOP_END(out)
	return strings | numbers << 12 | words << 24 | marks << 36 | errors << 48 | (u64)(deepest + depth) << 56;
}
KERNEL_SCRATCH(statem, 1024)
