//! How a module lists the known bugs that can be planted in it: each has a name for command lines and a meaning.

/// Makes a module's `Bug` of lines `Variant "name" "meaning",`.
#[macro_export]
macro_rules! bugs {
    ($(#[$of:meta])* $($bug:ident $name:literal $meaning:literal,)*) => {
        $(#[$of])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = $meaning] $bug,)*
        }

        impl Bug {
            pub const ALL: &[Bug] = &[$(Bug::$bug),*];

            /// As a command line has it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Bug::$bug => $name,)*
                }
            }

            /// What is done wrong, in a sentence without its full stop.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Bug::$bug => $meaning,)*
                }
            }
        }
    };
}

pub(crate) use bugs;
