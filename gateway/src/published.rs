//! One value that many threads read without a lock, and that no reader ever has to free.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwapOption, Guard};

/// The newest of a thing, and the older ones that readers still look at.
///
/// A replaced value is kept until nobody else holds it and is then dropped by whoever calls [`reap`](Self::reap), so a
/// worker never pays for the freeing of a snapshot.
#[derive(Debug)]
pub(crate) struct Published<T> {
    current: ArcSwapOption<T>,
    retired: Mutex<Vec<Arc<T>>>,
}

impl<T> Published<T> {
    /// Nothing, or a first value.
    pub(crate) fn new(first: Option<Arc<T>>) -> Self {
        Self { current: ArcSwapOption::new(first), retired: Mutex::new(Vec::new()) }
    }

    /// Puts `value` in the place of the current one. Who loads from now on sees it.
    pub(crate) fn publish(&self, value: Arc<T>) {
        if let Some(old) = self.current.swap(Some(value)) {
            self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(old);
        }
        self.reap();
    }

    /// Frees the replaced values that nobody looks at any more.
    pub(crate) fn reap(&self) {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).retain(|old| Arc::strong_count(old) > 1);
    }

    /// The current value, for as long as the guard lives: one batch, not longer.
    pub(crate) fn load(&self) -> Guard<Option<Arc<T>>> {
        self.current.load()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    struct Tell(Sender<std::thread::ThreadId>);

    impl Drop for Tell {
        fn drop(&mut self) {
            let _ = self.0.send(std::thread::current().id());
        }
    }

    #[test]
    fn replaced_value_is_freed_by_the_publisher_and_not_by_its_last_reader() {
        let (tell, told) = channel();
        let published = Published::new(Some(Arc::new(Tell(tell.clone()))));
        let (looking, looks) = channel();
        let (done, wait) = channel::<()>();
        std::thread::scope(|scope| {
            let (published, wait) = (&published, wait);
            let reader = scope.spawn(move || {
                let guard = published.load();
                looking.send(()).unwrap();
                wait.recv().unwrap();
                drop(guard);
            });
            looks.recv().unwrap();
            published.publish(Arc::new(Tell(tell.clone())));
            assert!(told.try_recv().is_err(), "freed while a reader looks at it");
            done.send(()).unwrap();
            reader.join().unwrap();
        });
        assert!(told.try_recv().is_err(), "freed by the reader");
        published.reap();
        assert_eq!(told.try_recv().unwrap(), std::thread::current().id());
    }
}
