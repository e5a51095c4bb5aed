//! One list per port makes its capabilities: plain data with a name for each flag.

/// Makes a `Copy` struct of boolean flags with `NONE`, `ALL`, `with_*`, `names()` and `missing(wanted)`.
macro_rules! flags {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $flag:ident / $with:ident,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct $name {
            $($(#[$doc])* pub $flag: bool,)+
        }

        impl $name {
            /// Promises nothing beyond the unconditional clauses.
            pub const NONE: Self = Self { $($flag: false,)+ };

            /// Everything there is to promise.
            pub const ALL: Self = Self { $($flag: true,)+ };

            $(
                $(#[$doc])*
                #[must_use]
                pub const fn $with(mut self) -> Self {
                    self.$flag = true;
                    self
                }
            )+

            /// This, and what `other` promises.
            #[must_use]
            pub const fn and(mut self, other: Self) -> Self {
                $(self.$flag |= other.$flag;)+
                self
            }

            /// This without what `other` promises.
            #[must_use]
            pub const fn without(mut self, other: Self) -> Self {
                $(self.$flag &= !other.$flag;)+
                self
            }

            /// The names of what is promised.
            #[must_use]
            pub fn names(self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$flag { names.push(stringify!($flag)); })+
                names
            }

            /// The names of what `wanted` promises and this does not.
            #[must_use]
            pub fn missing(self, wanted: Self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if wanted.$flag && !self.$flag { names.push(stringify!($flag)); })+
                names
            }
        }
    };
}

pub(crate) use flags;

#[cfg(test)]
mod tests {
    use crate::model_provider::ModelCapabilities;

    #[test]
    fn what_is_missing_is_named() {
        let has = ModelCapabilities::NONE.with_tool_use().with_rerank();
        let wants = ModelCapabilities::NONE.with_tool_use().with_vision_input();
        assert_eq!(has.names(), ["tool_use", "rerank"]);
        assert_eq!(has.missing(wants), ["vision_input"]);
        assert_eq!(has.missing(has), [""; 0]);
    }
}
