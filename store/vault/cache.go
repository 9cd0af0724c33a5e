package vault

import (
	"container/list"
	"sync"
)

// Cache keeps unwrapped data keys in memory, those used last. The zero value
// keeps none; it is safe for concurrent use.
type Cache struct {
	Size int // how many

	mu    sync.Mutex
	keys  map[ID]*list.Element // of *DataKey
	owner map[string]ID
	order list.List // the last used in front
}

// Get is the key with an id, nil where it is not kept.
func (c *Cache) Get(id ID) *DataKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.get(id)
}

// Of is the key that an owner's values are sealed with, nil where it is not known.
func (c *Cache) Of(owner string) *DataKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.get(c.owner[owner])
}

func (c *Cache) get(id ID) *DataKey {
	e := c.keys[id]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*DataKey)
}

// Add keeps a key. With current it is the one to seal its owner's values with.
func (c *Cache) Add(d *DataKey, current bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil {
		c.keys, c.owner = map[ID]*list.Element{}, map[string]ID{}
	}
	if current {
		c.owner[d.Owner] = d.ID
	}
	if c.get(d.ID) == nil {
		c.keys[d.ID] = c.order.PushFront(d)
	}
	for c.order.Len() > c.Size {
		c.drop(c.order.Back())
	}
}

// Forget drops a key that is destroyed.
func (c *Cache) Forget(id ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.keys[id]; e != nil {
		c.drop(e)
	}
}

func (c *Cache) drop(e *list.Element) {
	d := c.order.Remove(e).(*DataKey)
	delete(c.keys, d.ID)
	if c.owner[d.Owner] == d.ID {
		delete(c.owner, d.Owner)
	}
}
