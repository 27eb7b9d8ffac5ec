/*-------------------------------------------------------------------------
 *
 * jsonb.c
 *	  Headers as jsonb for fuzz targets, without the server's jsonb.
 *
 * Text of the form "name:value\n"... becomes what the server's iterator tells
 * of an object of strings.  A value that begins with one of these characters
 * is of another type: \1 null, \2 a number, \3 an object, \4 true.  As in the
 * server, strings have no NUL at their end; each is in a block of its own, so
 * that the address sanitizer sees what is read beyond it.
 *
 * Names need not be unique here, though the server's are: more can happen
 * here than there.
 *
 *-------------------------------------------------------------------------
 */
#include "shim.h"

#include "jsonb.h"

#define MAX_PAIRS	64

typedef struct Pairs
{
	int			n;
	JsonbValue	names[MAX_PAIRS];
	JsonbValue	values[MAX_PAIRS];
	Jsonb		jsonb;			/* of it only the header */
} Pairs;

static void
set_string(JsonbValue *value, const char *text, size_t len)
{
	value->type = jbvString;
	value->val.string.val = palloc(len);
	value->val.string.len = len;
	memcpy(value->val.string.val, text, len);
}

static void
set_value(JsonbValue *value, const char *text, size_t len)
{
	static const enum jbvType types[] = {
		jbvNull, jbvNumeric, jbvBinary, jbvBool
	};

	if (len > 0 && text[0] >= 1 && text[0] <= lengthof(types))
	{
		/* what a reader of the wrong type would follow */
		memset(value, 0x7f, sizeof(JsonbValue));
		value->type = types[text[0] - 1];
	}
	else
		set_string(value, text, len);
}

/* An empty text makes an array, which headers must not be. */
Jsonb *
wo_fuzz_jsonb(const char *text, size_t len)
{
	Pairs	   *pairs = palloc0(sizeof(Pairs));
	const char *end = text + len;

	pairs->jsonb.root.header = len > 0 ? JB_FOBJECT : JB_FARRAY;
	while (text < end && pairs->n < MAX_PAIRS)
	{
		const char *eol = memchr(text, '\n', end - text);
		const char *colon;

		if (eol == NULL)
			eol = end;
		colon = eol > text ? memchr(text, ':', eol - text) : NULL;
		if (colon == NULL)
			colon = eol;
		set_string(&pairs->names[pairs->n], text, colon - text);
		if (colon < eol)
			colon++;
		set_value(&pairs->values[pairs->n], colon, eol - colon);
		pairs->n++;
		text = Min(eol + 1, end);
	}
	return &pairs->jsonb;
}

JsonbIterator *
JsonbIteratorInit(JsonbContainer *container)
{
	JsonbIterator *iterator = palloc0(sizeof(JsonbIterator));

	iterator->container = container;
	return iterator;
}

JsonbIteratorToken
JsonbIteratorNext(JsonbIterator **iterator, JsonbValue *value,
				  bool skip_nested)
{
	const Pairs *pairs = (const Pairs *) ((char *) (*iterator)->container -
										  offsetof(Pairs, jsonb.root));
	int			step = (*iterator)->curIndex++; /* 0: before the object */
	int			i = (step - 1) / 2;

	wo_fuzz_require(skip_nested);
	if (step == 0)
	{
		value->type = jbvObject;
		value->val.object.nPairs = pairs->n;
		return WJB_BEGIN_OBJECT;
	}
	if (i == pairs->n)
		return step % 2 == 1 ? WJB_END_OBJECT : WJB_DONE;
	*value = step % 2 == 1 ? pairs->names[i] : pairs->values[i];
	return step % 2 == 1 ? WJB_KEY : WJB_VALUE;
}
