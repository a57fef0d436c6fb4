"""redis-om: objects as hashes, by their keys (its queries need the search module)."""
import os
import sys

os.environ['REDIS_OM_URL'] = f'redis://127.0.0.1:{sys.argv[1]}'

from importlib.metadata import version  # noqa: E402

from redis_om import HashModel, NotFoundError  # noqa: E402


class Person(HashModel, index=True):
    name: str
    age: int


if __name__ == '__main__':
    person = Person(name='me', age=41).save()
    assert Person.get(person.pk) == person
    person.update(age=42)
    assert Person.get(person.pk).age == 42 and list(Person.all_pks()) == [person.pk]
    person.expire(100)
    assert 0 < Person.db().ttl(person.key()) <= 100
    Person.delete(person.pk)
    try:
        Person.get(person.pk)
        raise AssertionError('an error was expected')
    except NotFoundError:
        pass
    print(f'redis-om {version("redis-om")}: works')
